//! Clients: a fast injector that knows what it was promised, and a slow probe for single lines.

mod injector;
mod logins;
mod message;
mod probe;

pub use injector::{Injector, InjectorConfig, Progress};
pub use logins::LoginLoad;
pub use message::{Injected, Outcome, TEST_BYTES_HEADER, TEST_ID_HEADER};
pub(crate) use message::{field, header};
pub use probe::{Probe, Reply};
