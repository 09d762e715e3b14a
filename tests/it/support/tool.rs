//! Other people's programs.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// A program that a test needs. `./test.sh` installs them all, so its absence fails the test.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    pub program: &'static str,
    /// How to get it.
    pub install: &'static str,
}

impl Tool {
    pub const CURL: Tool = Tool { program: "curl", install: "apt-get install curl" };
    pub const H2LOAD: Tool = Tool { program: "h2load", install: "apt-get install nghttp2-client" };
    pub const SYSTEMD_ANALYZE: Tool = Tool { program: "systemd-analyze", install: "apt-get install systemd" };
    pub const SH: Tool = Tool { program: "sh", install: "apt-get install dash" };

    /// Runs it to its end, whatever that is.
    pub fn output(self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.program);
        command.args(arguments).stdin(Stdio::null());
        // Loopback is never reached through somebody's proxy.
        for variable in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
            command.env_remove(variable);
        }
        let output = command.output();
        output
            .unwrap_or_else(|error| panic!("{}: {error}. Get it with `{}` or by ./test.sh", self.program, self.install))
    }
}

/// Runs a tool that must succeed; returns what it printed.
pub fn run(tool: Tool, arguments: &[&str]) -> String {
    let output = tool.output(arguments);
    if !output.status.success() {
        let _ = std::io::stderr().write_all(&output.stderr);
        panic!("{} {arguments:?}: {}", tool.program, output.status);
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}
