//! A message on its way in: policy, trace headers, the body to the spool, the commit.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use skein_client::trace::{self, MessageTrace};
use skein_client::{Spool, SpoolError, Upload};
use skein_credential::Challenge;
use skein_mail::header::{HeaderScan, HeaderSummary, POOL_FIELD, ScanState};
use skein_mail::trace::{self as trace_fields, ReceivedFields, WithProtocol};
use skein_model::mail::Client;
use skein_model::spool::Accept;
use skein_model::{Domain, Envelope, Notify, Priority, Recipient, TraceContext, UnixMs};
use skein_policy::{DEFAULT_POOL, Inbound};
use skein_smtp::address::{Address, ascii_name};
use skein_smtp::command::{MailFrom, RcptPath, RcptTo};
use skein_smtp::reply::Reply;
use tracing::Instrument;

use crate::accounts::{Account, Owner};
use crate::config::ListenerKind;
use crate::envelope::{envelope, is_tls_optional, wished_by};
use crate::header_directives;
use crate::hosted::{self, Addressee};
use crate::inspection::{self, Inspected, Inspection};
use crate::memory::{Holder, Share};
use crate::rates::{Counted, Tokens};
use crate::server::Shared;
use crate::signatures::Signatures;
use crate::sites::Lookups;

/// Bytes handed to the spool at once.
const PIECE_BYTES: usize = 256 << 10;
/// A body that is gathered takes up twice its length at most: a quarter more than there is, see [`gather`], and the memory that
/// it was moved from, which the allocator does not give back at once.
const PENDING_COST: usize = 2;
/// What a recipient takes in memory beside its address and in the command that is made of it, at most.
const RECIPIENT_BYTES: usize = 512;

/// What the client said of itself.
pub struct Peer {
    pub helo: String,
    pub esmtp: bool,
    pub user: Option<String>,
}

pub struct Intake<'s> {
    pub(crate) shared: &'s Shared,
    holder: &'s Holder,
    pub(crate) address: IpAddr,
    kind: ListenerKind,
    tls: Option<(String, String)>,
    /// What the client showed in its handshake, its own first.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// As whom the client has logged in.
    pub(crate) login: Option<Account>,
    /// What it was asked for that logs in by SCRAM.
    pub(crate) scram: Option<Challenge>,
    /// Whose mail the transaction is, from MAIL on; none: a stranger's, who finds that out at RCPT.
    tenant: Option<Arc<str>>,
    /// As whose it counts; as the tenant.
    pub(crate) owner: Option<Owner>,
    /// What it counts as.
    pub(crate) tokens: Tokens,
    /// A transaction was begun and nothing of it was let go.
    is_begun: bool,
    pub(crate) mail: MailFrom,
    /// What holds for a stranger's message, once it has a recipient.
    inbound: Option<Arc<Inbound>>,
    /// Where the message goes; chosen at MAIL, when a client can still be told to come again.
    spool: Option<Spool>,
    recipients: Vec<Addressee>,
    sites: Lookups,
    /// For the recipients.
    share: Option<Share>,
    /// It was waited for memory in vain; the other recipients of the transaction are answered at once.
    is_short: bool,
    body: Option<Body>,
}

/// The body while it arrives.
struct Body {
    upload: Upload,
    trace: MessageTrace,
    peer: Peer,
    at: UnixMs,
    scan: HeaderScan,
    /// Bytes that are not yet handed over; all of them until the headers are complete.
    pending: Vec<u8>,
    /// For the pending bytes.
    share: Share,
    headers_done: bool,
    /// As its header says.
    priority: Option<Priority>,
    campaign: Option<String>,
    tls_optional: bool,
    /// As the policy and its header say.
    pool: String,
    /// What it is signed with, once its header is complete; none: it is not signed.
    signatures: Option<Signatures>,
    /// What a stranger's is looked at for.
    inspection: Option<Inspection>,
    /// So much came of it.
    bytes: u64,
    /// Kept for the end, because a client must send its whole body before it is told.
    refused: Option<Reply>,
}

pub(crate) fn now() -> UnixMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl<'s> Intake<'s> {
    pub fn new(
        shared: &'s Shared,
        holder: &'s Holder,
        address: IpAddr,
        kind: ListenerKind,
    ) -> Self {
        Self {
            shared,
            holder,
            address,
            kind,
            tls: None,
            certificates: Vec::new(),
            login: None,
            scram: None,
            tenant: None,
            owner: None,
            tokens: Tokens::default(),
            is_begun: false,
            mail: MailFrom::default(),
            inbound: None,
            spool: None,
            recipients: Vec::new(),
            sites: Lookups::new(shared.site_of.clone()),
            share: None,
            is_short: false,
            body: None,
        }
    }

    /// Whose mail the transaction is: of a stranger, that of who has the addresses.
    pub(crate) fn tenant(&self) -> &str {
        let of_addresses = self.inbound.as_ref().map(|inbound| &*inbound.tenant);
        self.tenant.as_deref().or(of_addresses).unwrap_or_default()
    }

    pub(crate) fn inbound(&self) -> Option<&Arc<Inbound>> {
        self.inbound.as_ref()
    }

    pub(crate) fn addressees(&self) -> &[Addressee] {
        &self.recipients
    }

    pub fn kind(&self) -> ListenerKind {
        self.kind
    }

    pub fn set_tls(&mut self, version: &str, cipher: &str) {
        self.tls = Some((version.to_owned(), cipher.to_owned()));
    }

    pub async fn mail(&mut self, mail: MailFrom) -> Option<Reply> {
        self.reset();
        if let Some(revoked) = self.check_login() {
            return Some(revoked);
        }
        self.owner = match &self.login {
            Some(login) => Some(Owner::of(login)),
            None => self.shared.owner_of(self.address),
        };
        self.tenant = self.owner.as_ref().map(|owner| owner.tenant.clone());
        let refused = match self.check_sender(mail.path.address()).await {
            None => self.check_quota(),
            refused => refused,
        };
        if let Some(refused) = refused {
            self.shared.metrics.refused_at_mail.inc();
            return Some(refused);
        }
        (self.is_begun, self.is_short) = (true, false);
        self.spool = match self.shared.spools.pick(rand::random()).await {
            Ok(spool) => Some(spool),
            Err(error) => {
                self.shared.metrics.refused_at_mail.inc();
                return Some(refusal(&error));
            }
        };
        self.holder.set_tenant(self.tenant.clone());
        self.share = self.holder.take(RECIPIENT_BYTES).await;
        if self.share.is_none() {
            return Some(no_memory());
        }
        self.mail = mail;
        self.count(Counted::Messages).await
    }

    /// Lets go of the transaction.
    pub fn reset(&mut self) {
        if std::mem::take(&mut self.is_begun) {
            (self.body, self.share) = (None, None);
            self.tokens = Tokens::default();
            self.recipients = Vec::new();
            self.sites = Lookups::new(self.shared.site_of.clone());
            self.mail = MailFrom::default();
            self.inbound = None;
        }
    }

    pub async fn rcpt(&mut self, rcpt: RcptTo) -> Option<Reply> {
        if let Some(refused) = self.check_recipients(self.recipients.len()) {
            return Some(refused);
        }
        let config = self.shared.config();
        let address = match rcpt.to {
            RcptPath::Address(address) => address,
            RcptPath::Postmaster => match Address::from_parts("postmaster", &config.hostname) {
                Ok(address) => address,
                Err(error) => return Some(Reply::new(550, (5, 1, 3), error.to_string())),
            },
        };
        let mut inbound = None;
        let destination = match self.tenant {
            Some(_) => self.destination_of(&address),
            None => match self.admit_stranger(&address).await {
                Ok((of, destination)) => {
                    inbound = Some(of);
                    Some(destination)
                }
                Err(refused) => return Some(refused),
            },
        };
        let notify = rcpt.notify.map_or_else(Notify::default, |notify| Notify {
            success: notify.success,
            failure: notify.failure,
            delay: notify.delay,
            given: true,
        });
        let orcpt = rcpt
            .orcpt
            .map(|orcpt| format!("{};{}", orcpt.kind(), orcpt.address()));
        let recipient = Recipient {
            address: address.as_str().to_owned(),
            notify,
            orcpt,
        };
        let orcpt_bytes = recipient.orcpt.as_ref().map_or(0, String::len);
        let bytes = 2 * (recipient.address.len() + orcpt_bytes) + RECIPIENT_BYTES;
        let more = match self.is_short {
            true => self.holder.try_take(bytes),
            false => self.holder.take(bytes).await,
        };
        match (&mut self.share, more) {
            (Some(share), Some(more)) => share.add(more),
            _ => {
                self.is_short = true;
                return Some(no_memory());
            }
        }
        if let Some(refused) = self.count(Counted::Recipients).await {
            return Some(refused);
        }
        let domain = Domain::new(&address.routing_domain());
        if destination.is_none() {
            self.sites.begin(&domain);
        }
        self.inbound = inbound;
        self.recipients.push(Addressee {
            domain,
            recipient,
            destination,
        });
        None
    }

    pub async fn start_body(&mut self, peer: Peer) -> Option<Reply> {
        let at = now();
        let mut begun = self.spool.as_ref()?.begin(at, rand::random());
        if begun.is_err()
            && let Ok(another) = self.shared.spools.pick(rand::random()).await
        {
            // The group lost its leader since MAIL, or its room.
            begun = another.begin(at, rand::random());
            self.spool = Some(another);
        }
        let upload = match begun {
            Ok(upload) => upload,
            Err(error) => return Some(refusal(&error)),
        };
        self.body = Some(Body {
            upload,
            trace: MessageTrace::none(),
            peer,
            at,
            scan: HeaderScan::new(),
            pending: Vec::new(),
            share: self.holder.nothing(),
            headers_done: false,
            priority: None,
            campaign: None,
            tls_optional: false,
            pool: DEFAULT_POOL.into(),
            signatures: None,
            inspection: None,
            bytes: 0,
            refused: None,
        });
        None
    }

    pub fn abort(&mut self) {
        // Dropping the upload discards what the spool has of it.
        self.body = None;
    }

    pub async fn body(&mut self, bytes: Vec<u8>) {
        let Some(mut body) = self.body.take() else {
            return;
        };
        self.check_size(&mut body, bytes.len());
        if body.headers_done && body.pending.len() + bytes.len() > PIECE_BYTES {
            self.hand_over(&mut body).await;
        }
        if body.refused.is_none() {
            self.take_share(&mut body, bytes.len()).await;
        }
        if body.refused.is_none() {
            gather(&mut body.pending, &bytes);
            if !body.headers_done {
                let state = body.scan.push(&bytes);
                self.check_headers(&mut body, state).await;
            } else if let Some(signatures) = &mut body.signatures {
                signatures.body(&bytes);
            } else if let Some(inspection) = &mut body.inspection {
                inspection.body(&bytes);
            }
            if body.headers_done && body.pending.len() >= PIECE_BYTES {
                self.hand_over(&mut body).await;
            }
        }
        if body.refused.is_some() {
            // The rest of it is read and dropped.
            body.pending = Vec::new();
            body.share = self.holder.nothing();
            (body.signatures, body.inspection) = (None, None);
        }
        self.body = Some(body);
    }

    /// A stranger's message may be as large as the policy has it, and not larger.
    fn check_size(&self, body: &mut Body, bytes: usize) {
        body.bytes = body.bytes.saturating_add(bytes as u64);
        let most = self.inbound.as_ref().and_then(|inbound| inbound.size_max);
        if let Some(most) = most.filter(|most| body.bytes > *most)
            && body.refused.is_none()
        {
            body.refused = Some(hosted::too_large(most));
        }
    }

    /// Waits until the process has room for this many bytes more. Meanwhile nothing is read from the client.
    async fn take_share(&self, body: &mut Body, bytes: usize) {
        let bytes = bytes.saturating_mul(PENDING_COST);
        let mut more = self.holder.try_take(bytes);
        if more.is_none() {
            if body.headers_done {
                // This body must not wait for memory that it holds itself.
                self.hand_over(body).await;
            }
            more = self.holder.take(bytes).await;
        }
        match more {
            Some(more) => body.share.add(more),
            None => body.refused = Some(no_memory()),
        }
    }

    async fn hand_over(&self, body: &mut Body) {
        while !body.pending.is_empty() && body.refused.is_none() {
            let rest = body.pending.split_off(body.pending.len().min(PIECE_BYTES));
            let piece = std::mem::replace(&mut body.pending, rest);
            let piece = body.share.over(piece);
            if let Err(error) = body.upload.write(piece).await {
                body.refused = Some(refusal(&error));
            }
        }
        body.share.shrink_to(body.pending.len() * PENDING_COST);
    }

    async fn check_headers(&self, body: &mut Body, state: ScanState) {
        match state {
            ScanState::Incomplete => {}
            ScanState::TooLarge(what) => {
                body.refused = Some(Reply::new(552, (5, 3, 4), what.to_string()));
            }
            ScanState::Complete => body.refused = self.complete_headers(body).await.err(),
        }
    }

    /// Puts our headers in front, and begins to sign.
    async fn complete_headers(&self, body: &mut Body) -> Result<(), Reply> {
        let summary = body.scan.summary();
        if trace_fields::is_loop(summary.received_count) {
            let text = "Too many Received headers: the mail is in a loop";
            return Err(Reply::new(554, (5, 4, 6), text));
        }
        if let Some(inbound) = &self.inbound {
            self.begin_trace(body, None);
            return self
                .complete_headers_of_stranger(body, summary, inbound)
                .await;
        }
        let summary = self.take_directives(body, summary)?;
        let summary = self.take_forged(body, summary);
        let header = body.pending.get(..summary.fields_end);
        let header = header.unwrap_or(&body.pending);
        body.tls_optional = is_tls_optional(header, summary);
        let authors = self.authors(header).await?;
        if let Some(refused) = self.check_authors(header, authors.as_ref()) {
            return Err(refused);
        }
        let signers = match &authors {
            Some(authors) => self.signers(authors)?,
            None => Vec::new(),
        };
        let mut whole = self.headers(body, summary, !signers.is_empty());
        let ours = whole.len();
        whole.append(&mut body.pending);
        if !signers.is_empty() {
            let (header, rest) = whole.split_at((ours + summary.body_start).min(whole.len()));
            let mut signatures = self.begin_signatures(header, signers).await?;
            signatures.body(rest);
            body.signatures = Some(signatures);
        }
        body.pending = whole;
        body.headers_done = true;
        Ok(())
    }

    /// The same for a stranger's message, which is signed by none of ours, and whose wishes are not heard.
    async fn complete_headers_of_stranger(
        &self,
        body: &mut Body,
        summary: HeaderSummary,
        inbound: &Inbound,
    ) -> Result<(), Reply> {
        let (header, rest) = body
            .pending
            .split_at(summary.body_start.min(body.pending.len()));
        if inspection::was_here(header, &self.recipients) {
            let text = "The message was delivered to this address before: the mail is in a loop";
            return Err(Reply::new(554, (5, 4, 6), text));
        }
        body.inspection = self.begin_inspection(inbound, header, rest).await?;
        let summary = header_directives::drop_all(&mut body.pending, summary);
        let summary = self.take_forged(body, summary);
        let mut whole = self.headers(body, summary, false);
        whole.append(&mut body.pending);
        body.pending = whole;
        body.headers_done = true;
        Ok(())
    }

    /// Mail that comes to hosted addresses has results of ours only.
    fn take_forged(&self, body: &mut Body, summary: HeaderSummary) -> HeaderSummary {
        let is_hosted = self.recipients.iter().any(|one| one.destination.is_some());
        match is_hosted {
            true => {
                let config = self.shared.config();
                let host = &config.hostname;
                inspection::take_forged(&mut body.pending, summary, host)
            }
            false => summary,
        }
    }

    /// Waits until the process has room for these bytes beside those of the body.
    pub(crate) async fn take_memory(&self, bytes: usize) -> Result<Share, Reply> {
        self.holder.take(bytes).await.ok_or_else(no_memory)
    }

    /// The pool for a message that wishes for this one.
    ///
    /// A wish that is not granted refuses the message: sent through another pool, it would use up the reputation of
    /// addresses that it was to be kept away from.
    fn pool(&self, wanted: Option<&str>) -> Result<String, Reply> {
        let sender = self.mail.path.address();
        let domain = sender.map(|address| Domain::new(&address.routing_domain()));
        let domain = domain.as_ref().map_or("", Domain::as_str);
        let policy = self.shared.policy();
        let pool = policy.pool_of(self.tenant(), domain, wanted);
        pool.map(str::to_owned)
            .map_err(|refused| Reply::new(550, (5, 7, 1), format!("{POOL_FIELD}: {refused}")))
    }

    /// Takes what the header asks for out of it.
    fn take_directives(
        &self,
        body: &mut Body,
        summary: HeaderSummary,
    ) -> Result<HeaderSummary, Reply> {
        let (directives, summary) = header_directives::take(&mut body.pending, summary)?;
        self.begin_trace(body, directives.trace);
        body.pool = self.pool(directives.pool.as_deref())?;
        body.priority = directives.priority;
        body.campaign = directives.campaign;
        Ok(summary)
    }

    /// `parent`: the client's span, if it named one.
    fn begin_trace(&self, body: &mut Body, parent: Option<TraceContext>) {
        let (config, tenant) = (self.shared.config(), self.tenant());
        if config.sampling.has(parent, tenant, rand::random()) {
            body.trace = MessageTrace::begin(body.upload.id(), tenant, self.address, parent);
        }
    }

    fn headers(&self, body: &Body, summary: HeaderSummary, is_signed: bool) -> Vec<u8> {
        let id = body.upload.id().to_string();
        let single = match self.recipients.as_slice() {
            [one] => one
                .recipient
                .address
                .parse()
                .ok()
                .and_then(|one: Address| one.to_ascii()),
            _ => None,
        };
        let peer = &body.peer;
        let config = self.shared.config();
        let hostname = config.hostname.as_str();
        let mut headers = trace_fields::received_header(&ReceivedFields {
            from_helo: &ascii_name(&peer.helo),
            from_ip: self.address,
            from_rdns: None,
            by: hostname,
            with: WithProtocol::of(
                peer.esmtp,
                self.tls.is_some(),
                peer.user.is_some(),
                self.mail.smtputf8,
            ),
            tls: self
                .tls
                .as_ref()
                .map(|(version, cipher)| (version.as_str(), cipher.as_str())),
            id: &id,
            for_recipient: single.as_ref().map(Address::as_str),
            at_ms: body.at.0,
        });
        if self.inbound.is_some()
            && let Some(field) = inspection::delivered_to(&self.recipients)
        {
            headers.insert_str(0, &field);
        }
        // A host that adds what a signature says is missing would break it.
        let completes = is_signed || self.kind == ListenerKind::Submission || peer.user.is_some();
        if completes && !summary.has_message_id {
            headers.push_str(&trace_fields::message_id_header(&id, hostname));
        }
        if completes && !summary.has_date {
            headers.push_str(&trace_fields::date_header(body.at.0));
        }
        if summary.needs_separator() {
            headers.push_str("\r\n");
        }
        headers.into_bytes()
    }

    /// Stores and commits the message; the reply is what the client is told.
    pub async fn finish(&mut self) -> Reply {
        let began = Instant::now();
        let Some(mut body) = self.body.take() else {
            return Reply::new(451, (4, 3, 0), "The message got lost; send it again");
        };
        if !body.headers_done && body.refused.is_none() {
            let state = body.scan.finish();
            self.check_headers(&mut body, state).await;
        }
        // From here on it is known whose trace it is.
        let span = body.trace.span();
        let reply = self.decide(body).instrument(span.clone()).await;
        if !reply.is_positive() {
            trace::refused(&span, reply.code);
        }
        let took = began.elapsed().as_secs_f64();
        self.shared.metrics.accept.observe(took);
        reply
    }

    async fn decide(&mut self, mut body: Body) -> Reply {
        let prefix_bytes = match body.refused {
            None => self.hand_over_all(&mut body).await,
            Some(ref refused) => Err(refused.clone()),
        };
        let metrics = &self.shared.metrics;
        let prefix_bytes = match prefix_bytes {
            Ok(prefix_bytes) => prefix_bytes,
            Err(refused) => {
                metrics.refused.inc();
                return refused;
            }
        };
        match self.commit(body, prefix_bytes).await {
            Ok((id, bytes)) => {
                self.tokens.used();
                metrics.accepted(self.tenant(), bytes);
                fail::fail_point!("ingress-before-250");
                Reply::new(250, (2, 0, 0), format!("queued as {id}"))
            }
            Err(error) => {
                if matches!(error, SpoolError::Unknown(_)) {
                    // It may be in.
                    self.tokens.used();
                }
                tracing::warn!(%error, client = %self.address, "a message was not taken");
                metrics.refused.inc();
                refusal(&error)
            }
        }
    }

    /// Hands over the rest of the message, and behind it the signatures or the results of checks, from where they go out first.
    /// Returns how long those are.
    async fn hand_over_all(&mut self, body: &mut Body) -> Result<Option<u32>, Reply> {
        let prefix = match (body.signatures.take(), &self.inbound) {
            (Some(signatures), _) => self.end_signatures(signatures, body.at).await?,
            (None, Some(inbound)) => {
                let (inbound, inspection) = (Arc::clone(inbound), body.inspection.take());
                self.inspect(&inbound, inspection, &body.peer).await?
            }
            (None, None) => Vec::new(),
        };
        // In one piece, where both fit into one.
        gather(&mut body.pending, &prefix);
        self.hand_over(body).await;
        match body.refused.take() {
            Some(refused) => Err(refused),
            None => Ok(u32::try_from(prefix.len()).ok().filter(|bytes| *bytes > 0)),
        }
    }

    /// The results of a stranger's message. Without a return path that is proved, nobody hears of what becomes of it.
    async fn inspect(
        &mut self,
        inbound: &Inbound,
        inspection: Option<Inspection>,
        peer: &Peer,
    ) -> Result<Vec<u8>, Reply> {
        let found = match inspection {
            Some(inspection) => self.end_inspection(inbound, inspection, peer).await?,
            None => Inspected::default(),
        };
        if !found.is_authentic {
            hosted::silence(&mut self.recipients);
        }
        Ok(found.fields)
    }

    async fn commit(
        &mut self,
        mut body: Body,
        prefix_bytes: Option<u32>,
    ) -> Result<(String, u64), SpoolError> {
        let id = body.upload.id();
        let stored = body.upload.finish(prefix_bytes);
        let (stored, sites) = tokio::join!(stored, self.sites.finish());
        let stored = stored?;
        let bytes = stored.bytes;
        let mail = std::mem::take(&mut self.mail);
        // The client has the same name in events and on screens as in the message.
        let name = trace_fields::client_name(&ascii_name(&body.peer.helo));
        let client = Client::new(name, self.address, body.peer.user.clone());
        let envelope = Envelope {
            client: Some(client),
            // The message's own header knows best.
            priority: match self.inbound {
                // Strangers overtake nobody.
                Some(_) => Priority::default(),
                None => body.priority.unwrap_or(wished_by(&mail)),
            },
            campaign: body.campaign,
            tls_optional: body.tls_optional,
            ..envelope(&mail, self.tenant(), body.pool)
        };
        let spool = self.spool.as_ref();
        let spool = spool.ok_or_else(|| SpoolError::Refused("no group was picked".into()))?;
        let recipients = std::mem::take(&mut self.recipients);
        // Until the commit is known.
        let _share = self.share.take();
        let recipients_max = self.shared.config().recipients_per_task;
        let mut tasks = hosted::tasks(spool, id, recipients, recipients_max, &sites);
        body.trace.created(&mut tasks, bytes);
        let accept = Accept {
            id,
            envelope,
            body: stored,
            tasks,
            about: None,
        };
        let commit = body.trace.commit(id.group().0);
        spool.accept(&accept).instrument(commit).await?;
        Ok((id.to_string(), bytes))
    }
}

/// Appends. A vector that grows by itself has room for twice as much, which is a header's whole length for each session.
fn gather(pending: &mut Vec<u8>, bytes: &[u8]) {
    let needed = pending.len() + bytes.len();
    if needed > pending.capacity() {
        pending.reserve_exact(bytes.len() + needed / 4);
    }
    pending.extend_from_slice(bytes);
}

/// What a client is told when the memory for messages stays used up.
fn no_memory() -> Reply {
    let text = "Too much mail is on its way in, try again later";
    Reply::new(452, (4, 3, 1), text)
}

/// What a client is told when the spool does not take its message (DESIGN section 7).
fn refusal(error: &SpoolError) -> Reply {
    match error {
        SpoolError::Unavailable(_) => Reply::new(
            451,
            (4, 3, 0),
            "No storage can take the message, try again later",
        ),
        SpoolError::Full(_) => {
            Reply::new(452, (4, 3, 1), "No room for the message, try again later")
        }
        SpoolError::Unknown(_) => Reply::new(
            451,
            (4, 4, 5),
            "The message may not be stored, send it again",
        ),
        SpoolError::Refused(_) => Reply::new(451, (4, 3, 0), "The message cannot be stored now"),
        SpoolError::Upgrading(_) => Reply::new(
            451,
            (4, 7, 5),
            "The cluster is being upgraded and takes no signed mail until that is done, try again later",
        ),
    }
}
