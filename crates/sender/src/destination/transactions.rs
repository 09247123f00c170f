//! The transactions of one connection, for as long as it is of use.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_model::throttle::TURN;

use crate::destination::attempt::{After, Unsettled};
use crate::destination::destinations::{Destinations, Work};
use crate::destination::open::Serving;
use crate::destination::permit::ConnectionPermit;
use crate::destination::state::Destination;
use crate::limits::token::Token;
use crate::smtp::connection::Connection;
use crate::task::delivery::DeliveryTask;

/// What a connection begins with.
pub struct Begun {
    pub first: Option<(DeliveryTask, Token)>,
    /// A task that this host does not take may be tried with another one.
    pub has_more_hosts: bool,
}

impl Destinations {
    /// Runs transactions until the connection is of no more use, and closes it. Returns a task that the host did not
    /// take and another may.
    pub async fn use_up(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        serving: &Serving<'_>,
        mut connection: Connection,
        mut begun: Begun,
    ) -> Option<Box<Unsettled>> {
        let own = self.outbound.config.get().messages_per_connection_max;
        let given = serving.path_policy.messages_per_connection;
        let transactions_max = given.map_or(own, |given| given.min(own));
        let timeouts = serving.hop.timeouts;
        let (mut unsettled, permit) = (None, &serving.permit);
        let actions = &self.placer.actions;
        let site = &serving.route.site;
        let (began, opened) = (actions.latest_of(site), Instant::now());
        // An action that began since may allow fewer connections than there are, or none.
        while connection.transactions < transactions_max
            && !connection.is_to_end()
            && !permit.is_stopped()
            && actions.latest_of(site) <= began
        {
            let had_turn = connection.transactions > 0 && opened.elapsed() >= Duration::from(TURN);
            if permit.must_leave() || (had_turn && permit.is_wanted(destination.number)) {
                break;
            }
            let next = match begun.first.take() {
                Some(next) => Some(next),
                None => {
                    let leaves = connection.to_end();
                    let to_end = async {
                        tokio::select! {
                            () = leaves => {}
                            () = permit.stopped() => {}
                        }
                    };
                    self.next_task(destination, timeouts.idle, permit, to_end)
                        .await
                }
            };
            let Some(next) = next else {
                break;
            };
            let after = self
                .attempt(
                    destination,
                    serving,
                    &mut connection,
                    next,
                    begun.has_more_hosts,
                )
                .await;
            match after {
                After::Next => {}
                After::Close => return None,
                After::Elsewhere(delivery) => {
                    unsettled = Some(delivery);
                    break;
                }
            }
        }
        connection.quit().await;
        unsettled
    }

    /// The next task, or none when the connection has been idle for long, a limit holds it up for longer, it has nothing
    /// to do and others wait for its tokens, other senders do, or the sender drains.
    async fn next_task(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        idle: Duration,
        permit: &ConnectionPermit,
        to_end: impl Future<Output = ()> + Send,
    ) -> Option<(DeliveryTask, Token)> {
        let drain = &self.outbound.drain;
        let mut over = self.limiters.over();
        let mut has_idled = false;
        tokio::pin!(to_end);
        loop {
            if drain.is_cancelled() {
                return None;
            }
            let is_for_long = match self.next_work(destination) {
                Work::Task(delivery, token) if drain.is_cancelled() => {
                    token.cancel();
                    drop(delivery);
                    return None;
                }
                Work::Task(delivery, token) => {
                    permit.set_idle(false);
                    return Some((*delivery, token));
                }
                Work::Throttled(until) => until > Instant::now() + idle,
                Work::None => {
                    permit.set_idle(true);
                    permit.is_wanted(destination.number)
                }
            };
            let is_over = has_idled || is_for_long || permit.must_leave();
            if !is_over {
                has_idled = tokio::select! {
                    () = destination.work.notified() => false,
                    // A task may come at this very moment, so there is one more look.
                    () = tokio::time::sleep(idle) => true,
                    () = drain.cancelled() => false,
                    () = &mut to_end => true,
                    _ = over.changed() => false,
                };
            }
            destination.state.lock().ready -= 1;
            if is_over {
                return None;
            }
        }
    }
}
