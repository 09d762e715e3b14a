//! Which paths are refused before routing (SEC-01 to SEC-03). Nothing is decoded or rewritten: the route and the
//! upstream read the same bytes.

/// Why a path is refused; the text is for the problem document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRefused(pub &'static str);

const DOT_SEGMENT: PathRefused = PathRefused("the path holds a dot segment, plain or encoded");
const CONTROL: PathRefused = PathRefused("the path holds a control character, plain or encoded");
const BACKSLASH: PathRefused = PathRefused("the path holds a backslash; encode it as %5C if it is data");

/// Checks a request's path as received (no query).
///
/// Some server behind us will decode a segment (CVE-2021-28164), take `\` for `/` as Windows does, or drop what follows
/// a `;` as servlet containers do (CVE-2020-5902), and only then resolve dots. Whatever it does first, no piece that is
/// left may be `.` or `..` (SEC-02). It may not decode twice: `%252e` is data.
pub fn check_path(path: &str) -> Result<(), PathRefused> {
    // The common path holds nothing to think about.
    if !path.bytes().any(|byte| NOTABLE[usize::from(byte)]) {
        return Ok(());
    }
    check_pieces(path.as_bytes())
}

/// The bytes without which a path cannot be refused.
const NOTABLE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = matches!(byte as u8, b'.' | b'%' | b'\\') || (byte as u8).is_ascii_control();
        byte += 1;
    }
    table
};

fn check_pieces(path: &[u8]) -> Result<(), PathRefused> {
    let mut piece = Piece::Empty;
    let mut at = 0;
    while at < path.len() {
        let (byte, encoded) = match decoded(&path[at..]) {
            Some(byte) => (byte, true),
            None => (path[at], false),
        };
        at += if encoded { 3 } else { 1 };
        piece = match byte {
            b'\\' if !encoded => return Err(BACKSLASH),
            b'/' | b'\\' | b';' if piece.is_dots() => return Err(DOT_SEGMENT),
            b'/' | b'\\' | b';' => Piece::Empty,
            b'.' => piece.with_dot(),
            byte if byte.is_ascii_control() => return Err(CONTROL),
            _ => Piece::Text,
        };
    }
    if piece.is_dots() { Err(DOT_SEGMENT) } else { Ok(()) }
}

/// What stands between two cuts so far.
#[derive(Clone, Copy)]
enum Piece {
    Empty,
    Dot,
    DotDot,
    Text,
}

impl Piece {
    fn with_dot(self) -> Self {
        match self {
            Piece::Empty => Piece::Dot,
            Piece::Dot => Piece::DotDot,
            Piece::DotDot | Piece::Text => Piece::Text,
        }
    }

    fn is_dots(self) -> bool {
        matches!(self, Piece::Dot | Piece::DotDot)
    }
}

/// The byte that a percent-encoded triplet at the start stands for; a `%` without two digits is data.
fn decoded(path: &[u8]) -> Option<u8> {
    let &[b'%', high, low, ..] = path else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Paths of real APIs, from their own documentation; none of them may break (SEC-03).
    const LEGITIMATE: &[&str] = &[
        // GitLab: a namespaced project and a file path are one encoded segment each.
        "/api/v4/projects/gitlab-org%2Fgitlab/repository/files/lib%2Fclass%2Erb/raw",
        "/api/v4/projects/1/repository/files/.gitlab-ci.yml",
        "/api/v4/projects/diaspora%2Fdiaspora/repository/compare/v1.0...v1.1",
        // GitHub: a three-dot comparison, a dot file, an organisation's hidden repository.
        "/repos/octocat/hello-world/compare/main...octocat:feature",
        "/repos/octocat/.github/contents/.github/workflows/ci.yml",
        // npm: a scoped package, its tarball.
        "/@babel%2fcore",
        "/@babel/core/-/core-7.24.0.tgz",
        // S3: empty segments, spaces, a key that begins with a dot.
        "/bucket//logs//2024/01/01/",
        "/bucket/photos/My%20Holiday/IMG_0001%20(1).JPG",
        "/bucket/.well-known/%2E%2E%2E",
        // Microsoft Graph: paths in colons, functions with quotes.
        "/v1.0/me/drive/root:/Documents/Report%20Q1.docx:/content",
        "/v1.0/users('ana@contoso.example')/messages",
        "/v1.0/sites/contoso.sharepoint.example:/teams/hr:/drives",
        // Salesforce.
        "/services/data/v59.0/query/01gRO0000016PIAYA2-500",
        "/services/data/v59.0/sobjects/Account/ExternalId__c/A%2FB",
        // Google: custom verbs, resource names, Maps.
        "/v1/projects/p/locations/global/keyRings/k/cryptoKeys/c:encrypt",
        "/calendar/v3/calendars/ana%40example.com/events",
        "/maps/api/geocode/json",
        "/storage/v1/b/bucket/o/folder%2Fsub%2Ffile.txt",
        // Elasticsearch: lists, wildcards, date mathematics, hidden indices.
        "/logs-*,metrics-*/_search",
        "/%3Clogstash-%7Bnow%2Fd%7D%3E/_search",
        "/.kibana/_doc/config:8.1.0",
        // OData: keys in parentheses, doubled quotes, matrix parameters.
        "/odata/Products('O''Neil')/Supplier",
        "/odata/Orders(ID=1,Line=2)/$value",
        "/restv2/cars;color=red;doors=4/wheels",
        // An encoded backslash and an encoded percent sign are data.
        "/files/DOMAIN%5Cuser",
        "/search/100%25/%252e%252e%252fx",
        "/discount/%zz%",
        // Jira, Docker registry, OpenID discovery, a time, UTF-8.
        "/rest/api/3/issue/PROJ-1/comment",
        "/v2/library/alpine/manifests/sha256:c0d488a800e4127c334ad20d61d7bc21b4097540327217dfab52262adc02380c",
        "/.well-known/openid-configuration",
        "/v1/readings/2024-01-01T00:00:00.000Z",
        "/wiki/%C3%9Cber..uns/..namen/name../a..b/...",
        "/",
        "*",
        "",
    ];

    /// SEC-01, SEC-03: what real APIs use passes, encoded slashes and empty segments included.
    #[test]
    fn paths_of_real_apis_pass() {
        for path in LEGITIMATE {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        assert_eq!(LEGITIMATE.len(), 36);
    }

    /// SEC-02: dot segments in every disguise are refused, and so are control characters and raw backslashes.
    #[test]
    fn disguised_dot_segments_are_refused() {
        let dots = [
            "/api/../admin-only/x",
            "/api/./x",
            "/api/%2e%2e/admin-only/x",
            "/api/%2E./admin-only/x",
            "/api/..%2fadmin-only/x",
            "/api/%2e%2e%2fadmin-only%2fx",
            "/api/..;/admin-only/x",
            "/api/..;a=b/admin-only/x",
            "/api/..%3Ba=b/admin-only/x",
            "/api/a;../x",
            "/api//..//admin-only/x",
            "/api/..%5cadmin-only%5cx",
            "/api/..",
            "/api/.",
            "/api/%2e",
            "/api/%2e%2e%2f%2e%2e%2fetc/passwd",
            "/api/.%2e/x",
            "/./admin-only/x",
            "/admin-only/./x",
            "/a%2f..",
            "..",
        ];
        let other = [
            ("/api/..\\admin-only\\x", BACKSLASH),
            ("/api\\x", BACKSLASH),
            ("/api/..%00/admin-only/x", CONTROL),
            ("/admin-only%00/x", CONTROL),
            ("/api/e%0d%0aX-Inj:%20evil", CONTROL),
            ("/api/%7F", CONTROL),
            ("/api/\u{1}", CONTROL),
            ("/api/\0", CONTROL),
        ];
        let cases: Vec<_> = dots.iter().map(|path| (*path, DOT_SEGMENT)).chain(other).collect();
        for (path, refused) in &cases {
            assert_eq!(check_path(path), Err(*refused), "{path}");
        }
        assert_eq!(cases.len(), 29);
    }

    /// SEC-02, SEC-03: what the corpus of attacks does with paths is refused, or is data that no route mistakes.
    #[test]
    fn path_attacks_of_the_corpus_are_refused_or_data() {
        let corpus: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/corpus.json")).expect("the corpus is JSON");
        let data = ["P17", "P20", "P21", "P22", "P24", "P29", "P31", "P34", "P35", "P38"];
        let mut cases = 0;
        for case in corpus.as_array().expect("a list") {
            let id = case["id"].as_str().expect("an id");
            let Some(line) = case["send"].as_str().filter(|_| id.starts_with('P')) else { continue };
            let path = line.split(' ').nth(1).expect("a target");
            assert_eq!(check_path(path).is_ok(), data.contains(&id), "{id} {path}");
            cases += 1;
        }
        assert_eq!(cases, 25);
    }

    /// The rule of SEC-02 as it is written.
    fn literally(path: &str) -> bool {
        path.split('/').all(|segment| {
            let once: Vec<u8> = percent_encoding::percent_decode_str(segment).collect();
            let pieces = once.split(|byte| matches!(byte, b'/' | b'\\' | b';'));
            !segment.contains('\\')
                && !once.iter().any(u8::is_ascii_control)
                && pieces.into_iter().all(|piece| piece != b"." && piece != b"..")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(4096)))]

        /// SEC-02: the scan refuses exactly what the rule refuses.
        #[test]
        fn the_scan_is_the_rule(path in "(/|\\.|\\.\\.|;|a|%2e|%2E|%2f|%5C|%3b|%25|%|2|%00|%1f|\\\\|%7f|%c3){0,9}") {
            prop_assert_eq!(check_path(&path).is_ok(), literally(&path), "{}", path);
        }
    }
}
