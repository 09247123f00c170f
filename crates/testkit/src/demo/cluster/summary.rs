//! What became of the mail.

use super::story::Story;
use crate::load::{Injected, Outcome};
use crate::oracle::judge_with;

/// Prints the account; whether it is as promised.
pub fn show(injected: &[Injected], story: &mut Story) -> bool {
    let verdict = judge_with(injected, &story.world.records(), &story.windows);
    let count = |is: fn(&Outcome) -> bool| {
        let messages = injected.iter().filter(|message| is(&message.outcome));
        messages.count()
    };
    println!(
        "\n{} messages offered: {} acknowledged, {} refused, {} of unknown fate",
        injected.len(),
        count(|outcome| matches!(outcome, Outcome::Acked { .. })),
        count(|outcome| matches!(outcome, Outcome::Refused { .. })),
        count(|outcome| *outcome == Outcome::Unknown),
    );
    // Messages of unknown fate may have been delivered as well; they are not in this sum.
    let ended = verdict.acked - verdict.lost.len();
    println!(
        "{} recipients acknowledged = {ended} delivered or bounced + {} lost",
        verdict.acked,
        verdict.lost.len()
    );
    println!(
        "duplicates: {} that the kill of a sender explains, {} others",
        verdict.excused.len(),
        verdict.duplicates.len()
    );
    for delivery in verdict.lost.iter().take(5) {
        println!("  lost: {} to {}", delivery.id, delivery.recipient);
    }
    for delivery in verdict.duplicates.iter().take(5) {
        println!("  twice: {} to {}", delivery.id, delivery.recipient);
    }
    let is_clean = verdict.is_clean() && verdict.acked > 0;
    println!(
        "{}",
        match is_clean {
            true => "OK: two nodes were killed, and every acknowledged message is accounted for",
            false => "FAILED",
        }
    );
    if !is_clean {
        println!("{}", verdict.summary());
    }
    is_clean
}
