//! Whatever happens, in whatever order, the Northbound comes to be what the objects mean: random events, damage by hand,
//! lost answers, restarts; and then the judge looks.
#![allow(clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod damage;
mod dice;
mod feed;
mod generate;
mod mutants;
mod northbound;
mod player;
mod server;
mod strangers;

use std::hash::{BuildHasher, RandomState};

use northbound::{Memory, Northbound};
use player::Player;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use server::Host;

/// What happens, each thing as the bytes that decide it.
type Happenings = Vec<[u8; 24]>;

fn happenings() -> impl Strategy<Value = Happenings> {
    prop::collection::vec(prop::array::uniform24(any::<u8>()), 1..60)
}

/// Plays a case to its end.
fn play<N: Northbound>(northbound: N, happenings: &Happenings) -> Result<(), TestCaseError> {
    let mut player = Player::new(northbound);
    for happening in happenings {
        let done = player.happen(happening);
        done.map_err(|error| failed(&player, &error))?;
    }
    let end = player.conclude();
    end.map_err(|error| failed(&player, &error))
}

fn failed<N>(player: &Player<N>, error: &str) -> TestCaseError {
    TestCaseError::fail(format!("{error}\nthe story:\n{}", player.story.join("\n")))
}

/// A case in few characters: each happening in hexadecimal, without the zeros at its end.
fn to_text(happenings: &Happenings) -> String {
    let words = happenings.iter().map(|bytes| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let short = hex.trim_end_matches("00").to_owned();
        if short.is_empty() {
            "00".to_owned()
        } else {
            short
        }
    });
    words.collect::<Vec<_>>().join(".")
}

fn from_text(text: &str) -> Happenings {
    let byte = |word: &str, at: usize| {
        let digits = word.get(2 * at..2 * at + 2)?;
        u8::from_str_radix(digits, 16).ok()
    };
    text.split('.')
        .map(|word| std::array::from_fn(|at| byte(word, at).unwrap_or_default()))
        .collect()
}

/// So many cases from a new seed, or as `PROPTEST_CASES` and `PROPTEST_RNG_SEED` say. Or the one case that
/// `CONVERGE_CASE` spells.
fn run<N: Northbound>(cases: u32, new: impl Fn() -> N) {
    if let Ok(text) = std::env::var("CONVERGE_CASE") {
        return play(new(), &from_text(&text)).unwrap_or_else(|error| panic!("{error}"));
    }
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(RandomState::new().hash_one(0));
    }
    let RngSeed::Fixed(seed) = config.rng_seed else {
        return;
    };
    let cases = config.cases;
    let done = TestRunner::new(config).run(&happenings(), |happenings| play(new(), &happenings));
    if let Err(TestError::Fail(reason, least)) = done {
        let case = to_text(&least);
        panic!(
            "{reason}\n\nAgain, this least case: CONVERGE_CASE={case} cargo test -p yusur-convergence\n\
             Again, all cases: PROPTEST_RNG_SEED={seed} PROPTEST_CASES={cases} cargo test -p yusur-convergence"
        );
    } else if let Err(error) = done {
        panic!("{error}");
    }
}

#[test]
fn converges_in_memory() {
    run(10_000, Memory::new);
}

#[test]
fn converges_on_a_server() {
    let host = Host::start();
    run(400, || host.empty());
}

#[test]
fn cases_are_spelled_in_hexadecimal() {
    let mut case: Happenings = vec![[0; 24], [0; 24], [255; 24]];
    case[1][3] = 10;
    case[1][4] = 0x70;
    assert_eq!(from_text(&to_text(&case)), case);
}
