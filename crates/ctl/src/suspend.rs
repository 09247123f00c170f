//! Holding mail back, and letting it go.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use skein_wire::v1::{
    ListSuspensionsRequest, MailSelector, ResumeRequest, SuspendRequest, SuspendResponse,
    Suspension,
};

use crate::admin::Admin;
use crate::show;
use crate::smtp::reply::printable;

/// Of the help.
pub const WHICH: &str = "Which mail";

/// Mail for which all holds that is said.
#[derive(Debug, Args)]
pub struct Selector {
    /// Of this tenant.
    #[arg(long, help_heading = WHICH, default_value = "", hide_default_value = true)]
    tenant: String,
    /// To recipients of this domain.
    #[arg(long, help_heading = WHICH, default_value = "", hide_default_value = true)]
    domain: String,
    /// To what is limited as one destination, as `queue list` shows it.
    #[arg(long, help_heading = WHICH, default_value = "", hide_default_value = true)]
    site: String,
    /// To all domains that this provider hosts.
    #[arg(long, help_heading = WHICH, default_value = "", hide_default_value = true)]
    provider: String,
    /// That goes through this pool.
    #[arg(long, help_heading = WHICH, default_value = "", hide_default_value = true)]
    pool: String,
    /// Of this mailing, as X-Skein-Campaign of the messages says.
    #[arg(long, help_heading = WHICH, default_value = "", hide_default_value = true)]
    campaign: String,
}

impl Selector {
    /// # Errors
    /// Nothing is said.
    pub fn required(self) -> anyhow::Result<MailSelector> {
        let words = "name the mail: --tenant, --domain, --site, --provider, --pool or --campaign";
        self.given().context(words)
    }

    pub fn given(self) -> Option<MailSelector> {
        let selector = MailSelector {
            tenant: self.tenant,
            domain: self.domain,
            site: self.site,
            provider: self.provider,
            pool: self.pool,
            campaign: self.campaign,
            everything: false,
        };
        (selector != MailSelector::default()).then_some(selector)
    }

    /// # Errors
    /// All mail is meant, and something is named besides.
    fn or_all(self, all: bool) -> anyhow::Result<Option<MailSelector>> {
        let everything = MailSelector {
            everything: true,
            ..MailSelector::default()
        };
        match (self.given(), all) {
            (Some(_), true) => bail!("--all is all mail: name no mail besides"),
            (None, true) => Ok(Some(everything)),
            (given, false) => Ok(given),
        }
    }
}

/// How sure who asks is.
#[derive(Debug, Args)]
pub struct Care {
    /// Only say how much mail it would meet.
    #[arg(long)]
    pub dry_run: bool,
    /// Take names as they are, though neither policy nor waiting mail has them.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Suspend {
    #[command(flatten)]
    selector: Selector,
    /// All mail there is and that comes: nothing is sent.
    #[arg(long, help_heading = WHICH)]
    all: bool,
    /// Such as 90m or 2days; at most 30 days.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = crate::duration::parse)]
    lasts: Duration,
    /// Why, for others who look.
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
    #[command(flatten)]
    care: Care,
}

#[derive(Debug, Args)]
pub struct Resume {
    #[command(flatten)]
    selector: Selector,
    /// What `suspend --all` or `backup restore --hold` held back; other suspensions stay.
    #[arg(long, help_heading = WHICH)]
    all: bool,
    /// Why, for others who look.
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
}

/// For the record: not a proof.
pub fn who() -> String {
    std::env::var("USER").unwrap_or_default()
}

pub async fn suspend(mut admin: Admin, suspend: Suspend, json: bool) -> anyhow::Result<()> {
    let Some(selector) = suspend.selector.or_all(suspend.all)? else {
        if suspend.care.dry_run {
            bail!("name the mail that --dry-run is about");
        }
        return list(admin, json).await;
    };
    let request = SuspendRequest {
        selector: Some(selector),
        lasts_ms: u64::try_from(suspend.lasts.as_millis()).unwrap_or(u64::MAX),
        who: who(),
        why: suspend.why,
        gives_up: false,
        dry_run: suspend.care.dry_run,
        force: suspend.care.force,
    };
    let answer = admin.suspend(request).await?.into_inner();
    if json {
        return show::json(&answer);
    }
    print_notes(&answer.notes);
    let (until, met) = (show::time(answer.until_ms), met(&answer));
    match suspend.care.dry_run {
        true => println!(
            "{met} would be held back until {until}, and all that comes. Nothing was changed."
        ),
        false => println!(
            "{met} are held back until {until}, and all that comes; what is on its way to a host goes out."
        ),
    }
    Ok(())
}

fn met(answer: &SuspendResponse) -> String {
    counted(answer.tasks, answer.queues, answer.has_more)
}

/// So many tasks in so many queues.
pub fn counted(tasks: u64, queues: u64, has_more: bool) -> String {
    let than = match has_more {
        true => "More than ",
        false => "",
    };
    format!("{than}{tasks} tasks in {queues} queues")
}

/// What may be a mistake.
pub fn print_notes(notes: &[String]) {
    for note in notes {
        eprintln!("skeinctl: note: {}", printable(note));
    }
}

/// Gives mail up: what waits, and what comes meanwhile.
pub async fn bounce(
    mut admin: Admin,
    mail: Selector,
    lasts: Duration,
    why: String,
    care: Care,
    json: bool,
) -> anyhow::Result<()> {
    let request = SuspendRequest {
        selector: Some(mail.required()?),
        lasts_ms: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX),
        who: who(),
        why,
        gives_up: true,
        dry_run: care.dry_run,
        force: care.force,
    };
    let answer = admin.suspend(request).await?.into_inner();
    if json {
        return show::json(&answer);
    }
    print_notes(&answer.notes);
    let (until, met) = (show::time(answer.until_ms), met(&answer));
    match care.dry_run {
        true => println!(
            "{met} would go back to who sent them, as would those that come until {until}. Nothing was changed."
        ),
        false => println!(
            "{met} go back to who sent them, as do those that come until {until}; `skeinctl resume` ends it before."
        ),
    }
    Ok(())
}

pub async fn resume(mut admin: Admin, resume: Resume, json: bool) -> anyhow::Result<()> {
    let Some(selector) = resume.selector.or_all(resume.all)? else {
        bail!("name the mail as it was suspended; `skeinctl suspend` lists what is");
    };
    let request = ResumeRequest {
        selector: Some(selector),
        who: who(),
        why: resume.why,
    };
    let answer = admin.resume(request).await?.into_inner();
    if json {
        return show::json(&answer);
    }
    let met = counted(answer.tasks, answer.queues, answer.has_more);
    println!("{met} are let go, and all that comes.");
    if answer.left > 0 {
        println!(
            "{} other suspensions are in force; `skeinctl suspend` lists them.",
            answer.left
        );
    }
    Ok(())
}

async fn list(mut admin: Admin, json: bool) -> anyhow::Result<()> {
    let answer = admin.list_suspensions(ListSuspensionsRequest {}).await?;
    let suspensions = answer.into_inner().suspensions;
    if json {
        return show::json(&suspensions);
    }
    let mut table = show::table(&["MAIL", "IS", "UNTIL", "TASKS", "WHO", "WHY"]);
    for one in suspensions {
        table.add_row([
            mail(&one),
            match one.gives_up {
                true => "given up".to_owned(),
                false => "held back".to_owned(),
            },
            show::time(one.until_ms),
            one.tasks.to_string(),
            show::or_dash(one.who),
            show::or_dash(one.why),
        ]);
    }
    show::print(&table);
    Ok(())
}

fn mail(suspension: &Suspension) -> String {
    let of = suspension.selector.clone().unwrap_or_default();
    if of.everything {
        return "everything".to_owned();
    }
    let names = [
        ("tenant", of.tenant),
        ("domain", of.domain),
        ("site", of.site),
        ("provider", of.provider),
        ("pool", of.pool),
        ("campaign", of.campaign),
    ];
    let said = names.into_iter().filter(|(_, name)| !name.is_empty());
    let said: Vec<String> = said.map(|(key, name)| format!("{key} {name}")).collect();
    said.join(", ")
}
