use proptest::prelude::*;

use super::*;

/// What a server does with one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Says so after so many milliseconds.
    Answers(u64),
    Errs(u64),
    SaysLittle(u64),
    Nothing,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Answer(usize),
    /// All servers said little, and nothing else.
    Weak,
    /// The outcome is temporary.
    None,
}

const TIMEOUT: Duration = Duration::from_secs(5);

/// Plays a question; the n-th time that a server is asked it does the n-th thing, and the last one from then on.
/// Returns the end and the milliseconds until then.
fn play(servers: &[Vec<Does>], rounds: usize) -> (End, u64) {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut question = Question::new((0..servers.len()).collect(), TIMEOUT, rounds, start);
    let mut times = vec![0; servers.len()];
    let mut coming: Vec<(u64, usize, Does)> = Vec::new();
    let mut ms = 0;
    loop {
        let until = match question.next(at(ms)) {
            Step::Ask(server) => {
                let script = &servers[server];
                let does = script[times[server].min(script.len() - 1)];
                times[server] += 1;
                let timeout = u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX);
                let (after, does) = match does {
                    Does::Answers(after) | Does::Errs(after) | Does::SaysLittle(after) => {
                        (after, does)
                    }
                    Does::Nothing => (timeout, Does::Errs(timeout)),
                };
                coming.push((ms + after, server, does));
                continue;
            }
            Step::Wait(until) => u64::try_from((until - start).as_millis()).unwrap_or(u64::MAX),
            Step::Over => break,
        };
        coming.sort_by_key(|(at, server, _)| (*at, *server));
        match coming.first().copied().filter(|(at, ..)| *at <= until) {
            None => ms = until,
            Some((then, server, does)) => {
                coming.remove(0);
                ms = ms.max(then);
                match does {
                    Does::Answers(_) => return (End::Answer(server), ms),
                    Does::SaysLittle(_) => question.heard(server, Said::Weak, at(ms)),
                    Does::Errs(_) | Does::Nothing => {
                        let trouble = Trouble::Nonsense("erred");
                        question.heard(server, Said::Trouble(trouble), at(ms));
                    }
                }
            }
        }
    }
    match question.is_weakly_answered() {
        true => (End::Weak, ms),
        false => (End::None, ms),
    }
}

/// What each server does, one after the other, and how the question ends, and when.
type Row = (Vec<Vec<Does>>, (End, u64));

#[test]
fn whoever_errs_or_is_slow_leads_to_the_next() {
    use Does::*;
    let rows: Vec<Row> = vec![
        (vec![vec![Answers(20)]], (End::Answer(0), 20)),
        (
            vec![vec![Errs(20)], vec![Answers(30)]],
            (End::Answer(1), 50),
        ),
        (
            vec![vec![Nothing], vec![Answers(30)]],
            (End::Answer(1), 530),
        ),
        (
            vec![vec![Answers(700)], vec![Nothing]],
            (End::Answer(0), 700),
        ),
        (
            vec![vec![SaysLittle(10)], vec![Answers(10)]],
            (End::Answer(1), 20),
        ),
        (
            vec![vec![Nothing], vec![Errs(10)], vec![Answers(10)]],
            (End::Answer(2), 520),
        ),
        (vec![vec![Errs(10), Answers(10)]], (End::Answer(0), 20)),
        (vec![vec![SaysLittle(10)]], (End::Weak, 10)),
        (
            vec![vec![SaysLittle(10)], vec![SaysLittle(10)]],
            (End::Weak, 20),
        ),
        (vec![vec![SaysLittle(10)], vec![Errs(10)]], (End::None, 40)),
        (vec![vec![Errs(10)]], (End::None, 20)),
        (vec![vec![Nothing]], (End::None, 10_000)),
        (vec![], (End::None, 0)),
    ];
    for (servers, expected) in rows {
        assert_eq!(play(&servers, 2), expected, "{servers:?}");
    }
}

#[test]
fn a_server_is_blamed_for_what_another_one_could_answer() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut question = Question::new(vec![2, 0, 1, 3], TIMEOUT, 2, start);
    assert_eq!(question.next(at(0)), Step::Ask(2));
    assert_eq!(question.next(at(0)), Step::Wait(at(500)));
    assert_eq!(question.next(at(500)), Step::Ask(0));
    question.heard(0, Said::Weak, at(510));
    assert_eq!(question.next(at(510)), Step::Ask(1));
    question.heard(1, Said::Trouble(Trouble::Referral), at(520));
    assert_eq!(question.next(at(520)), Step::Ask(3));
    let blamed: Vec<usize> = question.blamed(at(540)).collect();
    assert_eq!(
        blamed,
        [2, 1],
        "silence and a referral; a weak answer may be true"
    );
}

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        (0_u64..4_000).prop_map(Does::Answers),
        (0_u64..4_000).prop_map(Does::Errs),
        (0_u64..400).prop_map(Does::SaysLittle),
        Just(Does::Nothing),
    ]
}

proptest! {
    #[test]
    fn no_order_of_errors_becomes_an_answer_and_no_answer_is_missed(
        servers in prop::collection::vec(prop::collection::vec(does(), 1..3), 1..6),
        rounds in 1_usize..4,
    ) {
        let (end, ms) = play(&servers, rounds);
        let bound = 5_000 * u64::try_from(rounds).unwrap_or(0);
        prop_assert!(ms <= bound, "{ms} ms");
        let says = |script: &Vec<Does>| script.iter().any(|does| matches!(does, Does::Answers(_)));
        let says_at_once = |script: &Vec<Does>| matches!(script[0], Does::Answers(ms) if ms < 1_000);
        match end {
            End::Answer(server) => prop_assert!(says(&servers[server])),
            End::Weak => {
                let little = |script: &Vec<Does>| script.iter().any(|does| matches!(does, Does::SaysLittle(_)));
                prop_assert!(servers.iter().all(little));
            }
            End::None => prop_assert!(!servers.iter().any(says_at_once)),
        }
        if servers.iter().any(says_at_once) {
            let all_asked = 500 * u64::try_from(servers.len()).unwrap_or(0);
            prop_assert!(ms < all_asked + 1_000, "{ms} ms");
        }
    }
}
