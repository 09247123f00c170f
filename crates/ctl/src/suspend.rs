//! Holding mail back, and letting it go.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use skein_wire::v1::{
    ListSuspensionsRequest, MailSelector, ResumeRequest, SuspendRequest, Suspension,
};

use crate::cli::Admin;
use crate::show;

/// Mail for which all holds that is said.
#[derive(Debug, Args)]
pub struct Selector {
    #[arg(long, default_value = "")]
    tenant: String,
    /// Of recipients.
    #[arg(long, default_value = "")]
    domain: String,
    #[arg(long, default_value = "")]
    site: String,
    #[arg(long, default_value = "")]
    provider: String,
    #[arg(long, default_value = "")]
    pool: String,
    /// As X-Skein-Campaign of the messages says.
    #[arg(long, default_value = "")]
    campaign: String,
}

impl Selector {
    /// # Errors
    /// Nothing is said.
    pub fn required(self) -> anyhow::Result<MailSelector> {
        let words = "name the mail: --tenant, --domain, --site, --provider, --pool or --campaign";
        self.given().context(words)
    }

    fn given(self) -> Option<MailSelector> {
        let selector = MailSelector {
            tenant: self.tenant,
            domain: self.domain,
            site: self.site,
            provider: self.provider,
            pool: self.pool,
            campaign: self.campaign,
        };
        (selector != MailSelector::default()).then_some(selector)
    }
}

#[derive(Debug, Args)]
pub struct Suspend {
    #[command(flatten)]
    selector: Selector,
    /// Such as 90m or 2days; at most 30 days.
    #[arg(long = "for", default_value = "1h", value_parser = crate::cli::duration)]
    lasts: Duration,
    #[arg(long, default_value = "")]
    why: String,
}

#[derive(Debug, Args)]
pub struct Resume {
    #[command(flatten)]
    selector: Selector,
    #[arg(long, default_value = "")]
    why: String,
}

/// For the record: not a proof.
pub fn who() -> String {
    std::env::var("USER").unwrap_or_default()
}

pub async fn suspend(mut admin: Admin, suspend: Suspend, json: bool) -> anyhow::Result<()> {
    let Some(selector) = suspend.selector.given() else {
        return list(admin, json).await;
    };
    let request = SuspendRequest {
        selector: Some(selector),
        lasts_ms: u64::try_from(suspend.lasts.as_millis()).unwrap_or(u64::MAX),
        who: who(),
        why: suspend.why,
        gives_up: false,
    };
    let until = admin.suspend(request).await?.into_inner().until_ms;
    println!(
        "It is held back until {}; what is on its way to a host goes out.",
        show::time(until)
    );
    Ok(())
}

/// Gives mail up: what waits, and what comes meanwhile.
pub async fn bounce(
    mut admin: Admin,
    mail: Selector,
    lasts: Duration,
    why: String,
    json: bool,
) -> anyhow::Result<()> {
    let request = SuspendRequest {
        selector: Some(mail.required()?),
        lasts_ms: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX),
        who: who(),
        why,
        gives_up: true,
    };
    let answer = admin.suspend(request).await?.into_inner();
    if json {
        return show::json(&answer);
    }
    println!(
        "{} tasks go back to who sent them, as do those that come until {}; `skeinctl resume` ends it before.",
        answer.tasks,
        show::time(answer.until_ms)
    );
    Ok(())
}

pub async fn resume(mut admin: Admin, resume: Resume) -> anyhow::Result<()> {
    let Some(selector) = resume.selector.given() else {
        bail!("name the mail as it was suspended; `skeinctl suspend` lists what is");
    };
    let request = ResumeRequest {
        selector: Some(selector),
        who: who(),
        why: resume.why,
    };
    admin.resume(request).await?;
    println!("It goes out again.");
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
