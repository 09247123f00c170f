//! Credentials: what lets clients hand in mail. Secrets are made here; the cluster gets what is kept to check them.

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use skein_credential::{GeneratedSecret, SALT_BYTES, ScramKeys, SecretKind, Verifier};
use skein_policy::{Credential, IntakeRates, Kind, NewCredential, Policy, Source, TokenRole};
use skein_wire::v1::{
    ApplyPolicyRequest, ListLocksRequest, ListPolicyRequest, PolicySource, ResourceKind,
    UnlockRequest,
};

use crate::admin::Admin;
use crate::policy::{self, Reach};
use crate::show;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a credential, and show its secret: once, for it is kept nowhere.
    Create(Create),
    /// Make another secret for a login. Both are good until `credential rotate NAME --finish`.
    Rotate {
        /// The credential.
        name: String,
        /// Let the former secret in no longer.
        #[arg(long)]
        finish: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Let nobody in with it any more, also in sessions that are open.
    Revoke {
        /// The credential.
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// All credentials, without what is kept of secrets.
    List,
    /// Users and clients that are locked out after failed logins, or made to wait.
    Locks {
        /// How many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Let a user or a client try again at once, on all nodes within seconds.
    Unlock {
        /// A user, an address such as 192.0.2.7, or a network as `credential locks` shows it.
        #[arg(value_name = "USER|NETWORK")]
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct Create {
    /// What it is called: letters, digits, ".", "-" or "_".
    name: String,
    /// Whose mail it lets in, or a token of --role tenant sees.
    #[arg(long, required_unless_present = "role")]
    tenant: Option<String>,
    /// Make a token for the admin API in place of a login: admin, operator, viewer, or tenant, which sees its own mail.
    #[arg(long, value_parser = role, conflicts_with_all = ["user", "no_login", "password_stdin"])]
    role: Option<TokenRole>,
    /// What its holder calls itself at a login; the name unless given.
    #[arg(long)]
    user: Option<String>,
    /// Where it is good, such as 192.0.2.0/24; may be given again. Everywhere unless given.
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<String>,
    /// Hosts of --network need no login: there is no secret.
    #[arg(long, requires = "networks", conflicts_with_all = ["user", "password_stdin"])]
    no_login: bool,
    /// A name of the client certificate whose holder needs no login, such as app.example.com or CN=name; may be given again.
    /// There is no secret then.
    #[arg(long = "certificate", value_name = "NAME", conflicts_with_all = ["user", "password_stdin", "no_login"])]
    certificates: Vec<String>,
    /// When it ends, such as 2027-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Let its holder log in by SCRAM-SHA-256 as well, which sends the secret to nobody.
    #[arg(long, conflicts_with_all = ["role", "no_login", "certificates", "password_stdin"])]
    scram: bool,
    /// Take a password from the standard input instead of making a secret. A check of it costs tens of milliseconds.
    #[arg(long)]
    password_stdin: bool,
    /// Only print the resource, to be applied later; the secret goes to the standard error.
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    reach: Reach,
}

/// A secret that was made or given, and what is kept of it.
struct Made {
    verifier: Verifier,
    /// None: the person knows it.
    secret: Option<GeneratedSecret>,
}

impl Made {
    /// `salt`: of SCRAM; none: its holder does not log in so.
    fn generated(role: Option<TokenRole>, salt: Option<[u8; SALT_BYTES]>) -> Self {
        let kind = match role {
            Some(_) => SecretKind::Api,
            None => SecretKind::Smtp,
        };
        let secret = GeneratedSecret::from_random(kind, rand::random());
        let verifier = Verifier::of_secret(&secret, rand::random());
        Self {
            verifier: match salt {
                Some(salt) => verifier.with_scram(ScramKeys::of_secret(&secret, salt)),
                None => verifier,
            },
            secret: Some(secret),
        }
    }

    fn given(mut input: impl Read) -> anyhow::Result<Self> {
        let mut password = String::new();
        input
            .read_to_string(&mut password)
            .context("the password on the standard input")?;
        let password = password.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            bail!("the standard input has no password");
        }
        Ok(Self {
            verifier: Verifier::of_password(password.as_bytes(), rand::random())?,
            secret: None,
        })
    }
}

pub async fn run(admin: Admin, command: Command, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create(create) => self::create(admin, create, json).await,
        Command::Rotate {
            name,
            finish,
            reach,
        } => rotate(admin, &name, finish, &reach, json).await,
        Command::Revoke { name, reach } => {
            let mut admin = admin;
            let request = ApplyPolicyRequest {
                remove: vec![format!("{}/{name}", Kind::Credential)],
                ..ApplyPolicyRequest::default()
            };
            policy::change(&mut admin, request, &reach, json).await
        }
        Command::List => list(admin, json).await.map(|()| ExitCode::SUCCESS),
        Command::Locks { limit } => locks(admin, limit, json).await.map(|()| ExitCode::SUCCESS),
        Command::Unlock { name } => unlock(admin, name, json).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn locks(mut admin: Admin, limit: u32, json: bool) -> anyhow::Result<()> {
    let answer = admin
        .list_locks(ListLocksRequest { limit })
        .await?
        .into_inner();
    if json {
        return show::json(&answer.locks);
    }
    if answer.locks.is_empty() {
        println!("No failed login counts at this moment.");
        return Ok(());
    }
    let mut table = show::table(&["USER", "CLIENT", "FAILURES", "LOCKED FOR"]);
    let shown = answer.locks.len() as u64;
    for lock in answer.locks {
        let locked_for = match lock.locked_for_ms {
            0 => "-".to_owned(),
            ms => format!("{} s", ms.div_ceil(1000)),
        };
        table.add_row([
            show::or_dash(lock.user),
            show::or_dash(lock.client),
            lock.failures.to_string(),
            locked_for,
        ]);
    }
    show::print(&table);
    if answer.all > shown {
        println!("{} more: --limit shows more of them.", answer.all - shown);
    }
    Ok(())
}

async fn unlock(mut admin: Admin, name: String, json: bool) -> anyhow::Result<()> {
    let request = UnlockRequest { name: name.clone() };
    let unlocked = admin.unlock(request).await?.into_inner().unlocked;
    if json {
        return show::json(&serde_json::json!({ "name": name, "unlocked": unlocked }));
    }
    println!("{name} may try again: nodes hear of it within seconds.");
    Ok(())
}

async fn create(mut admin: Admin, create: Create, json: bool) -> anyhow::Result<ExitCode> {
    let has_no_secret = create.no_login || !create.certificates.is_empty();
    let made = match (has_no_secret, create.password_stdin) {
        (true, _) => None,
        (false, true) => Some(Made::given(std::io::stdin())?),
        (false, false) => {
            let salt = create.scram.then(rand::random);
            Some(Made::generated(create.role, salt))
        }
    };
    let secrets = made.iter().map(|made| made.verifier.to_string()).collect();
    let new = NewCredential {
        name: create.name.clone(),
        tenant: create.tenant.unwrap_or_default(),
        role: create.role,
        user: create.user,
        secrets,
        certificates: create.certificates,
        networks: create.networks,
        rates: IntakeRates::default(),
        expires: create.expires,
    };
    let text = new.text();
    let credential = read(&text)?;
    if create.print {
        print!("{text}");
        if let Some(secret) = made.and_then(|made| made.secret) {
            eprintln!("{}", secret.expose());
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !fetch(&mut admin, Some(&create.name)).await?.is_empty() {
        bail!(
            "there is a credential {:?} already: give another name, or make it a new secret with skeinctl credential rotate {}",
            create.name,
            create.name
        );
    }
    let reached = apply(&mut admin, text, &create.reach).await?;
    tell(&credential, made.and_then(|made| made.secret), json)?;
    Ok(reached)
}

/// Shows what was made. The secret is seen here and never again.
fn tell(
    credential: &Credential,
    secret: Option<GeneratedSecret>,
    json: bool,
) -> anyhow::Result<()> {
    let secret = secret.as_ref().map(GeneratedSecret::expose);
    if json {
        return show::json(&serde_json::json!({
            "name": &*credential.name,
            "tenant": &*credential.tenant,
            "user": user(credential),
            "role": credential.role.map(TokenRole::name),
            "certificates": credential.certificates,
            "secret": secret,
        }));
    }
    if credential.is_network() {
        println!(
            "Hosts of {} hand in mail of {} without a login.",
            networks(credential),
            credential.tenant
        );
        return Ok(());
    }
    if credential.secrets.is_empty() {
        println!(
            "Who shows a certificate of {} hands in mail of {} without a login.",
            credential.certificates.join(", "),
            credential.tenant
        );
        return Ok(());
    }
    match user(credential) {
        Some(user) => println!("user      {user}"),
        None => println!("role      {}", role_of(credential)),
    }
    if let Some(secret) = secret {
        let word = match credential.role {
            Some(_) => "token   ",
            None => "password",
        };
        println!("{word}  {secret}");
        eprintln!("It is shown this once: nobody can find it out later.");
    }
    Ok(())
}

async fn rotate(
    mut admin: Admin,
    name: &str,
    finish: bool,
    reach: &Reach,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let found = fetch(&mut admin, Some(name)).await?;
    let Some(credential) = found.into_iter().next() else {
        bail!(
            "there is no credential {name:?}: skeinctl credential list names those that there are"
        );
    };
    if credential.secrets.is_empty() {
        bail!(
            "credential {name:?} has no secret: its hosts, or the holders of its certificates, need no login"
        );
    }
    let scram = credential.secrets.iter().find_map(Verifier::scram);
    let salt = scram.map(ScramKeys::salt);
    let made = (!finish).then(|| Made::generated(credential.role, salt));
    let secrets = match (&made, &credential.secrets[..]) {
        (None, [_]) => bail!("credential {name:?} has one secret: there is no former one"),
        (None, [.., last]) => vec![last.to_string()],
        (Some(made), [one]) => vec![one.to_string(), made.verifier.to_string()],
        (Some(_), _) => bail!(
            "credential {name:?} has two secrets: end the former one first, with skeinctl credential rotate {name} --finish"
        ),
        (None, []) => Vec::new(),
    };
    let text = NewCredential {
        secrets,
        ..NewCredential::of(&credential)
    }
    .text();
    let credential = read(&text)?;
    let reached = apply(&mut admin, text, reach).await?;
    match made {
        Some(made) => tell(&credential, made.secret, json)?,
        None if json => show::json(&serde_json::json!({ "name": name, "secrets": 1 }))?,
        None => println!("The former secret of {name} lets nobody in any more."),
    }
    Ok(reached)
}

async fn list(mut admin: Admin, json: bool) -> anyhow::Result<()> {
    let all = fetch(&mut admin, None).await?;
    if json {
        let rows = all.iter().map(|one| {
            serde_json::json!({
                "name": &*one.name,
                "tenant": &*one.tenant,
                "user": user(one),
                "role": one.role.map(TokenRole::name),
                "certificates": one.certificates,
                "secrets": one.secrets.len(),
                "networks": one.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "expires": one.expires.map(|at| at.to_string()),
            })
        });
        return show::json(&rows.collect::<Vec<_>>());
    }
    let mut table = show::table(&["CREDENTIAL", "TENANT", "USER", "SECRETS", "FROM", "EXPIRES"]);
    for one in all {
        let user = match (user(&one), one.role) {
            (Some(user), _) => user.to_owned(),
            (None, Some(role)) => format!("token: {}", role.name()),
            (None, None) if one.is_network() => "no login".to_owned(),
            (None, None) => format!("certificate of {}", one.certificates.join(", ")),
        };
        table.add_row([
            one.name.to_string(),
            one.tenant.to_string(),
            user,
            one.secrets.len().to_string(),
            match one.networks.is_empty() {
                true => "everywhere".to_owned(),
                false => networks(&one),
            },
            one.expires.map(|at| at.to_string()).unwrap_or_default(),
        ]);
    }
    show::print(&table);
    Ok(())
}

/// What its holder logs in as; none for a token, and for hosts without a login.
fn user(credential: &Credential) -> Option<&str> {
    let has_login = credential.role.is_none() && !credential.secrets.is_empty();
    has_login.then_some(&credential.user)
}

fn role_of(credential: &Credential) -> &'static str {
    credential.role.map_or("", TokenRole::name)
}

/// A role of a token.
fn role(text: &str) -> Result<TokenRole, String> {
    let found = TokenRole::ALL.into_iter().find(|role| role.name() == text);
    found.ok_or_else(|| {
        let names = TokenRole::ALL.map(TokenRole::name).join(", ");
        format!("there is no such role: there are {names}")
    })
}

fn networks(credential: &Credential) -> String {
    let networks = credential.networks.iter().map(ToString::to_string);
    networks.collect::<Vec<_>>().join(", ")
}

/// The credential that a text describes.
fn read(text: &str) -> anyhow::Result<Arc<Credential>> {
    let source = Source {
        name: "credential",
        text,
    };
    let policy = Policy::parse(&[source]).map_err(|problems| {
        let problems: Vec<&str> = problems.iter().map(|one| one.message.as_str()).collect();
        anyhow::anyhow!("{}", problems.join("\n"))
    })?;
    let found = policy.credentials().next().cloned();
    found.context("the text describes no credential")
}

async fn fetch(admin: &mut Admin, name: Option<&str>) -> anyhow::Result<Vec<Arc<Credential>>> {
    let request = ListPolicyRequest {
        kind: ResourceKind::Credential.into(),
        name: name.unwrap_or_default().to_owned(),
        ..ListPolicyRequest::default()
    };
    let found = admin.list_policy(request).await?.into_inner().resources;
    found.iter().map(|one| read(&one.text)).collect()
}

async fn apply(admin: &mut Admin, text: String, reach: &Reach) -> anyhow::Result<ExitCode> {
    let source = PolicySource {
        name: "credential".to_owned(),
        text,
    };
    let request = ApplyPolicyRequest {
        sources: vec![source],
        ..ApplyPolicyRequest::default()
    };
    policy::quietly(admin, request, reach).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_made_is_let_in_by_what_is_kept() {
        let made = Made::generated(None, None);
        let secret = made.secret.expect("it was made");
        assert!(made.verifier.lets_in(secret.expose().as_bytes()));
    }

    #[test]
    fn a_password_is_taken_without_its_line_end() {
        let made = Made::given(&b"correct horse\r\n"[..]).expect("a password");
        assert!(made.verifier.lets_in(b"correct horse"));
        assert!(Made::given(&b"\n"[..]).is_err());
    }

    #[test]
    fn what_is_made_reads_back() {
        let made = Made::generated(None, None);
        let new = NewCredential {
            name: "app".to_owned(),
            tenant: "t".to_owned(),
            role: None,
            user: Some("app@a.example".to_owned()),
            secrets: vec![made.verifier.to_string()],
            certificates: Vec::new(),
            networks: vec!["192.0.2.0/24".to_owned(), "2001:db8::/64".to_owned()],
            rates: IntakeRates::default(),
            expires: Some("2027-01-31T00:00:00Z".to_owned()),
        };
        let read = read(&new.text()).expect("it is sound");
        assert_eq!(read.secrets, [made.verifier]);
        assert_eq!(NewCredential::of(&read).text(), new.text());
        let wrong = NewCredential {
            expires: Some("soon".to_owned()),
            ..new
        };
        let refused = super::read(&wrong.text()).expect_err("no time");
        assert!(
            refused.to_string().contains("expires: must be a time"),
            "{refused}"
        );
    }
}
