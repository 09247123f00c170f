//! A task at this sender, its claim on a slot, and its octets.

pub mod delivery;
pub mod prepared;
#[cfg(test)]
pub mod test_tasks;
