//! Warming up source IPs.

use clap::{Args, Subcommand};
use skein_wire::v1::change_warmups_request::Change;
use skein_wire::v1::{
    ChangeWarmupsRequest, ListWarmupsRequest, WarmupEvent, WarmupPhase, WarmupStatus,
};

use crate::admin::Admin;
use crate::show;
use crate::suspend::who;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// How far each IP is at each provider; with --changes, how it came to that.
    Status {
        #[command(flatten)]
        which: Which,
        /// Also what happened, oldest first.
        #[arg(long)]
        changes: bool,
    },
    /// Begin. An IP that policy warms up sends nothing before this.
    Start {
        #[command(flatten)]
        of: Of,
        /// Counted from 1.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        stage: u32,
    },
    /// Stay at the stage, and send nothing unless --keep-sending.
    Pause {
        #[command(flatten)]
        of: Of,
        /// The stage's volume goes out each day meanwhile.
        #[arg(long)]
        keep_sending: bool,
    },
    /// Go on after a pause.
    Resume {
        #[command(flatten)]
        of: Of,
    },
    /// Go to a stage at once.
    Skip {
        #[command(flatten)]
        of: Of,
        /// Counted from 1.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        stage: u32,
    },
    /// Count the IP as warm from now on.
    Stop {
        #[command(flatten)]
        of: Of,
    },
}

#[derive(Debug, Args)]
pub struct Which {
    /// The name of a source IP; may be given several times. All if there is none.
    #[arg(long = "ip")]
    ips: Vec<String>,
    /// A provider that has a budget of its own, or default; may be given several times. All if there is none.
    #[arg(long = "provider")]
    providers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Of {
    /// The name of a source IP; may be given several times.
    #[arg(long = "ip", required = true)]
    ips: Vec<String>,
    /// A provider that has a budget of its own, or default; may be given several times. All if there is none.
    #[arg(long = "provider")]
    providers: Vec<String>,
    /// Why, for others who look.
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
}

impl Of {
    fn request(self, change: Change) -> ChangeWarmupsRequest {
        ChangeWarmupsRequest {
            ips: self.ips,
            providers: self.providers,
            change: change.into(),
            who: who(),
            why: self.why,
            ..ChangeWarmupsRequest::default()
        }
    }
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    let (request, done) = match command {
        Command::Status { which, changes } => return status(admin, which, changes, json).await,
        Command::Start { of, stage } => {
            let request = of.request(Change::Start);
            (ChangeWarmupsRequest { stage, ..request }, "started")
        }
        Command::Pause { of, keep_sending } => {
            let request = ChangeWarmupsRequest {
                keeps_sending: keep_sending,
                ..of.request(Change::Pause)
            };
            (request, "paused")
        }
        Command::Resume { of } => (of.request(Change::Resume), "resumed"),
        Command::Skip { of, stage } => {
            let request = of.request(Change::Skip);
            (
                ChangeWarmupsRequest { stage, ..request },
                "at another stage",
            )
        }
        Command::Stop { of } => (of.request(Change::Stop), "stopped: no budget applies"),
    };
    let changed = admin.change_warmups(request).await?.into_inner().changed;
    println!("{changed} {done}.");
    Ok(())
}

async fn status(mut admin: Admin, which: Which, changes: bool, json: bool) -> anyhow::Result<()> {
    let request = ListWarmupsRequest {
        ips: which.ips,
        providers: which.providers,
    };
    let warmups = admin.list_warmups(request).await?.into_inner().warmups;
    if json {
        return show::json(&warmups);
    }
    if changes {
        return print_changes(warmups);
    }
    let header = [
        "IP",
        "PROVIDER",
        "PHASE",
        "DAY",
        "STAGE",
        "BUDGET",
        "GRANTED",
        "SENT",
        "DELIVERED",
        "DEFERRED",
        "MORE",
        "AT THE END OF THE DAY",
    ];
    let mut table = show::table(&header);
    for one in warmups {
        let sent = one.delivered + one.deferred + one.bounced;
        let percent = |count: u64| match sent {
            0 => "-".to_owned(),
            sent => format!("{} %", count * 100 / sent),
        };
        table.add_row([
            one.ip,
            one.provider,
            show::word::<WarmupPhase>(one.phase),
            show::or_dash(one.day),
            format!("{}/{}", one.stage, one.stages),
            one.budget
                .map_or("none".to_owned(), |budget| budget.to_string()),
            one.granted.to_string(),
            sent.to_string(),
            percent(one.delivered),
            percent(one.deferred),
            show::until(one.next_at_ms),
            one.outlook,
        ]);
    }
    show::print(&table);
    Ok(())
}

fn print_changes(warmups: Vec<WarmupStatus>) -> anyhow::Result<()> {
    let mut table = show::table(&["TIME", "IP", "PROVIDER", "WHAT", "STAGE", "WHO", "WHY"]);
    for one in warmups {
        for change in one.changes {
            table.add_row([
                show::time(change.at_ms),
                one.ip.clone(),
                one.provider.clone(),
                show::word::<WarmupEvent>(change.what),
                change.stage.to_string(),
                show::or_dash(change.who),
                show::or_dash(change.why),
            ]);
        }
    }
    show::print(&table);
    Ok(())
}
