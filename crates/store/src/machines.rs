//! What the commands of a group mean, and which may become one.

use minicbor::Decode;
use skein_model::codec::{self, CorruptRow};
use skein_model::proposal::Invalid;
use skein_model::rows::Rows;
use skein_model::{GroupId, UnixMs, meta, spool};

/// What the commands of a group mean.
pub trait Machine: Copy + Send + Sync + 'static {
    type Effect: Send;

    /// Reads a command as [`Self::apply`] will, before it is proposed: what is committed must be applied by every replica,
    /// so what cannot be is refused first. Says whether control nodes pass such a command on to the leader.
    ///
    /// # Errors
    /// The command cannot be applied, or says what cannot be.
    fn check(&self, group: GroupId, command: &[u8]) -> Result<Proposed, Invalid>;

    /// Whether a command of a leader, which has checked it, can be read by this version.
    ///
    /// # Errors
    /// It cannot.
    fn is_readable(&self, command: &[u8]) -> Result<(), CorruptRow>;

    /// Applies one encoded command and returns its encoded reply.
    ///
    /// # Errors
    /// This version cannot read the command. Passing over it would make this replica differ from the others.
    fn apply<R: Rows>(
        &self,
        rows: &mut R,
        at: UnixMs,
        command: &[u8],
        effects: &mut Vec<Self::Effect>,
    ) -> Result<Vec<u8>, CorruptRow>;
}

/// What is known of a command that may be proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposed {
    /// Any control node may ask the leader to propose it.
    pub is_forwarded: bool,
}

/// Messages and tasks.
#[derive(Debug, Clone, Copy)]
pub struct SpoolMachine;

/// Sessions and slots.
#[derive(Debug, Clone, Copy)]
pub struct MetaMachine;

fn is_readable<T: for<'b> Decode<'b, ()>>(command: &[u8]) -> Result<(), CorruptRow> {
    codec::decode::<T>(command).map(|_| ())
}

impl Machine for SpoolMachine {
    type Effect = spool::Effect;

    fn check(&self, group: GroupId, command: &[u8]) -> Result<Proposed, Invalid> {
        let is_forwarded = spool::read_proposed(group, command)?.is_forwarded();
        Ok(Proposed { is_forwarded })
    }

    fn is_readable(&self, command: &[u8]) -> Result<(), CorruptRow> {
        is_readable::<spool::Command>(command)
    }

    fn apply<R: Rows>(
        &self,
        rows: &mut R,
        at: UnixMs,
        command: &[u8],
        effects: &mut Vec<spool::Effect>,
    ) -> Result<Vec<u8>, CorruptRow> {
        let applied = spool::apply(rows, at, &codec::decode(command)?);
        effects.extend(applied.effects);
        Ok(codec::encode(&applied.response))
    }
}

impl Machine for MetaMachine {
    /// Something was applied.
    type Effect = ();

    fn check(&self, _group: GroupId, command: &[u8]) -> Result<Proposed, Invalid> {
        let is_forwarded = meta::read_proposed(command)?.is_forwarded();
        Ok(Proposed { is_forwarded })
    }

    fn is_readable(&self, command: &[u8]) -> Result<(), CorruptRow> {
        is_readable::<meta::Command>(command)
    }

    fn apply<R: Rows>(
        &self,
        rows: &mut R,
        at: UnixMs,
        command: &[u8],
        effects: &mut Vec<()>,
    ) -> Result<Vec<u8>, CorruptRow> {
        let response = meta::apply(rows, at, &codec::decode(command)?);
        effects.push(());
        Ok(codec::encode(&response))
    }
}
