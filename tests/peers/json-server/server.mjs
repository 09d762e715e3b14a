// json-server (npm) as the APIs that aggregates are tested with: three of them at once, each with data of its own and a
// token that it wants. Prints one line of JSON with their URLs, and serves until it is ended.
import jsonServer from "json-server";

const orders = Array.from({ length: 10 }, (_, index) => ({
  id: index + 1,
  customer: index % 5 === 4 ? "C/8 & co" : "C-7",
  product: (index % 3) + 1,
  total: 12.5 + index,
}));

const data = {
  crm: { customers: [{ id: 7, number: "C-7", name: "Ada" }, { id: 8, number: "C/8 & co", name: "Bob" }], notes: [] },
  shop: { orders, products: [1, 2, 3].map((id) => ({ id, name: `product ${id}`, cost: 0.1 })) },
  billing: { accounts: [{ id: "C-7", open: 3, currency: "EUR" }] },
};

function listen(name, tables) {
  const server = jsonServer.create();
  server.use((request, response, next) => {
    if (request.headers.authorization === `Bearer token-of-${name}`) return next();
    response.status(401).set("www-authenticate", "Bearer").json({ error: "unauthorized" });
  });
  server.use(jsonServer.bodyParser);
  server.use(jsonServer.router(tables));
  return new Promise((resolve) => {
    const listening = server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${listening.address().port}`));
  });
}

const urls = {};
for (const [name, tables] of Object.entries(data)) urls[name] = await listen(name, tables);
console.log(JSON.stringify(urls));
