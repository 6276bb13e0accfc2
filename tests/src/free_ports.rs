//! Ports for processes that need to know their port before they listen.

use std::net::TcpListener;

/// Free ports below the range of ephemeral ports, which the system gives to clients and to servers that ask for port 0.
pub struct FreePorts(u16);

impl Default for FreePorts {
    /// Starts at a port that depends on the process id, because test processes run at the same time.
    fn default() -> FreePorts {
        let process = std::process::id() % 100;
        FreePorts(20_000 + 100 * u16::try_from(process).unwrap_or_default())
    }
}

impl FreePorts {
    /// Returns a different free port with each call.
    #[expect(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u16 {
        while self.0 < 32_000 {
            self.0 += 1;
            if TcpListener::bind(("127.0.0.1", self.0)).is_ok() {
                return self.0;
            }
        }
        panic!("no free port below 32000");
    }
}
