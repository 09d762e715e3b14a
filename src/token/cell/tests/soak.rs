//! Long runs: traffic through renewals, outages and revocations, many cells at once so that chance has its say.

use super::*;

const CELLS: usize = 40;

/// Ten second tokens, and an endpoint that answers after 200 ms.
async fn cells(house: &House) -> Vec<(Arc<TokenCell>, Endpoint)> {
    let mut cells = Vec::new();
    for n in 0..CELLS {
        // An origin each: the outages are not about turns.
        let origin = format!("https://login{n}.example:443");
        let endpoint = Endpoint::at(origin, secs(0.2), "id", [Answer::Token(Some(secs(10.0)))]);
        let cell = house.declare(&format!("crm{n}"), "secret", &endpoint);
        cells.push((cell, endpoint));
    }
    for (cell, _) in &cells {
        cell.take(secs(10.0)).await.unwrap();
    }
    cells
}

/// How old the token is: what is gone of its ten seconds.
fn age(cell: &TokenCell) -> Duration {
    secs(10.0).saturating_sub(cell.status().expires_in.unwrap())
}

async fn until_age(cell: &TokenCell, wanted: f64) {
    while age(cell) < secs(wanted) {
        tokio::time::sleep(secs(0.01)).await;
    }
}

/// TL-22, TL-32: no request waits through renewals and 1 s outages begun at age 7 s, one refusing and one hanging; and there are
/// no more fetches than renewals need.
#[tokio::test(start_paused = true)]
async fn nobody_waits_through_short_outages() {
    let house = House::new();
    let mut runs = tokio::task::JoinSet::new();
    for (cell, endpoint) in cells(&house).await {
        runs.spawn(async move {
            let begin = Instant::now();
            let traffic = tokio::spawn({
                let cell = cell.clone();
                async move {
                    while begin.elapsed() < secs(90.0) {
                        tokio::time::sleep(secs(0.1)).await;
                        assert!(cell.ready().is_some(), "a request waits: {:?}", cell.status());
                    }
                }
            });
            for outage in [Answer::Fail(FetchErrorKind::Transient), Answer::TimeOut] {
                tokio::time::sleep(secs(20.0)).await;
                until_age(&cell, 1.0).await;
                until_age(&cell, 7.0).await;
                endpoint.say([outage]);
                tokio::time::sleep(secs(1.0)).await;
                endpoint.say([Answer::Token(Some(secs(10.0)))]);
            }
            traffic.await.unwrap();
            let granted = cell.status().fetches_granted;
            assert!(granted <= 12 + 2 + 1, "{granted} fetches in 90 s");
        });
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
}

/// TL-25, TL-32: an outage from age 7 s to 10.5 s outlasts the token: requests wait, none fails.
#[tokio::test(start_paused = true)]
async fn requests_outwait_a_long_outage() {
    let house = House::new();
    let mut runs = tokio::task::JoinSet::new();
    for (cell, endpoint) in cells(&house).await {
        runs.spawn(async move {
            until_age(&cell, 7.0).await;
            endpoint.say([Answer::Fail(FetchErrorKind::Transient)]);
            let begin = Instant::now();
            let mut requests = tokio::task::JoinSet::new();
            while begin.elapsed() < secs(8.0) {
                if begin.elapsed() >= secs(3.5) {
                    endpoint.say([Answer::Token(Some(secs(10.0)))]);
                }
                let cell = cell.clone();
                requests.spawn(async move { cell.take(secs(30.0)).await });
                tokio::time::sleep(secs(0.1)).await;
            }
            while let Some(request) = requests.join_next().await {
                request.unwrap().expect("no request fails");
            }
        });
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
}

/// TL-40, TL-43: a token revoked at age 3 s, and its successor 5 s later: every rejected request replays.
#[tokio::test(start_paused = true)]
async fn revocations_in_a_row_are_replayed() {
    let house = House::new();
    for (cell, _) in cells(&house).await {
        tokio::time::sleep(secs(9.0)).await;
        until_age(&cell, 3.0).await;
        for _ in 0..2 {
            let sent = cell.ready().unwrap().generation;
            let Rejected::Replay(token) = cell.rejected(sent, true, secs(10.0)).await else { panic!("it is replayed") };
            assert_eq!(token.generation.0, sent.0 + 1);
            cell.replayed(token.generation, true);
            tokio::time::sleep(secs(5.0)).await;
        }
    }
}
