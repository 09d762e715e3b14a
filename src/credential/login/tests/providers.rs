//! Logins as the documentation of their providers has them.

/// A login of a provider, as its documentation has it: the table, what is to arrive at the provider, what is to be
/// attached. The provider's answer stands in tests/token-endpoint-quirks.json.
pub(super) struct Case {
    pub provider: &'static str,
    pub table: &'static str,
    /// The request's line, and what else is in its head.
    pub head: &'static [&'static str],
    pub body: &'static str,
    pub attached: &'static [&'static str],
}

pub(super) const LOGINS: &[Case] = &[
    Case {
        provider: "Feishu",
        table: r#"
url = "$URL/open-apis/auth/v3/tenant_access_token/internal"
json = { app_id = "cli_1", app_secret = "{password}" }
answer = { token = "tenant_access_token", lifetime = "expire", success = { path = "code", equals = 0 }, error = "msg" }"#,
        head: &["POST /open-apis/auth/v3/tenant_access_token/internal HTTP/1.1", "content-type: application/json"],
        body: r#"{"app_id":"cli_1","app_secret":"pa/ss \"wörd\""}"#,
        attached: &["authorization: Bearer t-T"],
    },
    Case {
        provider: "Jamf",
        table: r#"
url = "$URL/api/v1/auth/token"
basic = { username = "admin", password = "{password}" }
answer = { token = "token", lifetime = "expires" }"#,
        head: &["POST /api/v1/auth/token HTTP/1.1", "authorization: Basic YWRtaW46cGEvc3MgInfDtnJkIg=="],
        body: "",
        attached: &["authorization: Bearer T"],
    },
    Case {
        provider: "Tableau",
        table: r#"
values.site = "acme"
url = "$URL/api/3.22/auth/signin"
json.credentials.personalAccessTokenName = "attache"
json.credentials.personalAccessTokenSecret = "{password}"
json.credentials.site.contentUrl = "{site}"
answer = { token = "credentials.token", lifetime = "credentials.estimatedTimeToExpiration", lifetime_format = "H:MM:SS" }
attach = { header = "X-Tableau-Auth" }"#,
        head: &["POST /api/3.22/auth/signin HTTP/1.1", "accept: application/json"],
        body: r#"{"credentials":{"personalAccessTokenName":"attache","personalAccessTokenSecret":"pa/ss \"wörd\"","site":{"contentUrl":"acme"}}}"#,
        attached: &["x-tableau-auth: T"],
    },
    Case {
        provider: "SAP Business One",
        table: r#"
url = "$URL/b1s/v1/Login"
json = { CompanyDB = "SBODEMO", UserName = "manager", Password = "{password}" }
attach = [{ cookie = "B1SESSION" }, { cookie = "ROUTEID", value = "{route}" }]
[credentials.api.login.answer]
token = { cookie = "B1SESSION" }
lifetime = "SessionTimeout"
lifetime_unit = "minutes"
values.route = { cookie = "ROUTEID" }"#,
        head: &["POST /b1s/v1/Login HTTP/1.1"],
        body: r#"{"CompanyDB":"SBODEMO","Password":"pa/ss \"wörd\"","UserName":"manager"}"#,
        attached: &["cookie: B1SESSION=S; ROUTEID=.node1"],
    },
    Case {
        provider: "AgencyZoom",
        table: r#"
url = "$URL/v1/api/auth/login"
json = { username = "u@example.com", password = "{password}" }
answer.token = "jwt""#,
        head: &["POST /v1/api/auth/login HTTP/1.1"],
        body: r#"{"password":"pa/ss \"wörd\"","username":"u@example.com"}"#,
        attached: &["authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE5MDAwMDAwMDB9.c2ln"],
    },
    Case {
        provider: "WeChat",
        table: r#"
method = "GET"
url = "$URL/cgi-bin/token?grant_type=client_credential"
query = { appid = "wx1", secret = "{password}" }
attach = { query = "access_token" }"#,
        head: &["GET /cgi-bin/token?grant_type=client_credential&appid=wx1&secret=pa%2Fss%20%22w%C3%B6rd%22 HTTP/1.1"],
        body: "",
        attached: &[],
    },
];
