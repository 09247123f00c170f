//! Places where a fault test ends the process the hard way.

pub fn kill_point(name: &str) {
    fail::fail_point!(name, |_| {
        #[expect(unsafe_code, reason = "only SIGKILL leaves no chance to flush")]
        // SAFETY: kill and getpid have no preconditions.
        unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        }
        std::thread::park();
    });
    let _ = name;
}
