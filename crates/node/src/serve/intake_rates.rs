//! Mail that comes in takes tokens of the limits that the node's sender shares with the others.

use std::sync::Arc;

use skein_ingress::{Counted, OverRate, Owner, TakeToken, Taken};
use skein_model::throttle;
use skein_sender::{IntakeClosed, IntakeLimits, IntakeOf};

struct Token(skein_sender::Token);

impl skein_ingress::Token for Token {
    fn used(self: Box<Self>) {
        self.0.ended();
    }

    fn cancel(self: Box<Self>) {
        self.0.cancel();
    }
}

pub fn take_token(limits: IntakeLimits) -> TakeToken {
    Arc::new(move |owner, counted| {
        let limits = limits.clone();
        Box::pin(async move { take(&limits, &owner, counted).await })
    })
}

async fn take(limits: &IntakeLimits, owner: &Owner, counted: Counted) -> Taken {
    let of = IntakeOf {
        tenant: &owner.tenant,
        credential: owner.credential.as_deref(),
    };
    let counts = match counted {
        Counted::Messages => throttle::Counted::Messages,
        Counted::Recipients => throttle::Counted::Recipients,
    };
    match limits.take(of, counts).await {
        Ok(token) => Ok(token.map(|token| Box::new(Token(token)) as Box<dyn skein_ingress::Token>)),
        Err(closed) => {
            let IntakeClosed {
                whose,
                counts: _,
                rate,
                opens_in,
            } = closed;
            Err(OverRate {
                whose,
                counted,
                count: rate.count,
                per: rate.per.into(),
                opens_in,
            })
        }
    }
}
