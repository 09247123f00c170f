//! What happened in a run: a fault that never happens proves nothing.

macro_rules! coverage {
    ($($name:ident: $says:literal,)*) => {
        #[derive(Debug, Default, Clone)]
        pub struct Coverage {
            $(pub $name: u64,)*
        }

        impl Coverage {
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// In the order in which they are shown.
            pub fn lines(&self) -> Vec<(&'static str, u64)> {
                vec![$(($says, self.$name)),*]
            }
        }
    };
}

coverage! {
    accepted: "messages accepted",
    delivered: "recipients delivered",
    bounced: "recipients bounced",
    deferred: "deferrals",
    refiled: "tasks filed anew",
    refused_mail: "messages not taken",
    elections: "elections",
    candidacies: "candidacies",
    snapshots: "snapshots installed",
    control_crashes: "control nodes crashed",
    lost_suffixes: "crashes that lost unsynced data",
    sender_crashes: "senders crashed",
    isolations: "nodes cut off from all",
    cuts: "pairs cut, one way or both",
    pauses: "pauses",
    clock_jumps: "clocks set",
    slow_disks: "slow disks",
    storms: "storms of lost, late and doubled messages",
    lost: "messages lost",
    doubled: "messages doubled",
    sessions_lost: "sessions lost",
    moved: "slots moved",
    released: "slots released by a live owner",
    drains: "senders stopped by SIGTERM",
    operator_drains: "senders drained by an operator",
    handovers: "leaders moved",
    member_steps: "steps of membership changes",
    joined: "nodes added",
    removed: "nodes removed",
    wiped: "disks wiped",
    pulled: "bodies pulled",
    reply_lost: "duplicates: the reply to a final dot was lost (D1)",
    cut_off: "duplicates: the result was not committed in time (D2)",
    died: "duplicates: the sender died (D3)",
    unknown: "accepted, and the client was not told (D5)",
}

impl Coverage {
    /// Names what never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let lines = self.lines().into_iter();
        lines
            .filter(|(_, times)| *times == 0)
            .map(|(says, _)| says)
            .collect()
    }
}
