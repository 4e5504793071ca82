//! Whatever happens, in whatever order, the Northbound comes to be what the objects mean: random events, damage by hand,
//! lost answers, restarts; and then the judge looks.
#![allow(clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod damage;
mod dice;
mod feed;
mod fields;
mod generate;
mod mutants;
mod northbound;
mod northd;
mod player;
mod recorded;
mod server;
mod strangers;

use dice::Dice;
use northbound::{Memory, Northbound};
use northd::{Northd, Real};
use player::Player;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use server::Host;
use std::rc::Rc;
use yusur_testbed::release::Release;

/// What happens, each thing as the bytes that decide it.
type Happenings = Vec<[u8; 32]>;

fn happenings() -> impl Strategy<Value = Happenings> {
    prop::collection::vec(prop::array::uniform32(any::<u8>()), 1..60)
}

/// Plays a case to its end.
fn play<N: Northbound>(
    northbound: N,
    northd: Option<Northd>,
    happenings: &Happenings,
) -> Result<(), TestCaseError> {
    let mut player = Player::new(northbound, northd);
    // The last bytes of the first, which it hardly needs itself, say whether there is something already.
    if let Some((there, rest)) = happenings
        .first()
        .and_then(|bytes| bytes[20..].split_first())
        && *there > 127
    {
        player.begin(generate::world(&mut Dice::new(rest)));
    }
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

/// So many cases, the same every time: whoever changes something is to hear of that, not of what chance brings. Other cases
/// are for `make soak`: `PROPTEST_CASES` and `PROPTEST_RNG_SEED` say how many and which, and `CONVERGE_CASE` spells one.
/// `share`: which of the tests that divide the cases among the cores, each with others.
fn run<N: Northbound>(cases: u32, share: u64, new: impl Fn() -> (N, Option<Northd>)) {
    let play = |happenings: &Happenings| {
        let (northbound, northd) = new();
        play(northbound, northd, happenings)
    };
    if let Ok(text) = std::env::var("CONVERGE_CASE") {
        return play(&from_text(&text)).unwrap_or_else(|error| panic!("{error}"));
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
        config.rng_seed = RngSeed::Fixed(1);
    }
    let RngSeed::Fixed(seed) = config.rng_seed else {
        return;
    };
    config.rng_seed = RngSeed::Fixed(seed.wrapping_add(share));
    if share == SLOW {
        config.max_shrink_iters = 0;
    }
    let cases = config.cases;
    let done = TestRunner::new(config).run(&happenings(), |happenings| play(&happenings));
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
    run(5_000, 0, || (Memory::new(), None));
}

#[test]
fn converges_in_memory_beside_northd() {
    run(5_000, 1, || (Memory::new(), Some(Northd::played())));
}

/// What is played of northd tells a planner that does not wait from one that does.
#[test]
fn a_planner_that_does_not_wait_for_northd_is_seen() {
    let config = Config {
        cases: 300,
        failure_persistence: None,
        max_shrink_iters: 0,
        rng_seed: RngSeed::Fixed(1),
        ..Config::default()
    };
    let done = TestRunner::new(config).run(&happenings(), |happenings| {
        play(Memory::new(), Some(Northd::unheard()), &happenings)
    });
    let Err(TestError::Fail(reason, _)) = done else {
        panic!("nothing was seen: {done:?}");
    };
    let reason = reason.to_string();
    assert!(reason.contains("ovn-northd does not know yet"), "{reason}");
}

#[test]
fn converges_on_a_server() {
    let host = Host::start();
    run(400, 0, || (host.empty(), None));
}

/// The share of cases that take long: what fails is told as it was, not made smaller.
const SLOW: u64 = 7;

/// An ovn-northd of this release that is stopped and continued at random is alive at the end of each history, and its Southbound is
/// what it would compute anew.
fn northd_survives(release: &Release) {
    let host = Host::start();
    let real = Real::start(release, &host.remote());
    run(24, SLOW, || {
        real.stop(false);
        (host.empty(), Some(Northd::Real(Rc::clone(&real))))
    });
}

#[test]
fn the_installed_northd_survives() {
    northd_survives(&Release::installed());
}

#[test]
fn the_newest_northd_survives() {
    northd_survives(&Release::newest().expect("the newest OVN in Debian"));
}

/// Histories that once went wrong, as they were printed. They mean the same as long as chance is read the same way; after a
/// change of the generators they are histories like any other.
const ONCE_WRONG: &[&str] = &[
    // A name and load balancer before the address was on record.
    "0048000000047e3428.002001000000680e.20872c0000000736.3d.20044100000000594e.3e.00000c.9d0d",
    // A virtual machine that stayed where the namespace's default had been.
    "006758000000001d.a09e3100003c1415.609e530000001420.20b34d000000000000bd.2d2a10cc020000100095.\
     603810000000080b0605960400003000000000700000d9.204e7e00000004240000aa.5d.f6e5",
    // A router that was labelled as a service's, then not at all, then ours again.
    "205705000000070e2c.1d000038.50000653dd00c2ee.ad1cec0c000000c9b6.3000140b452b",
    // A route whose labels were taken off before it was known.
    "2017730000050000a2.3d000038.d2003030.b01b0f13a10b.b0010503.a0075a00006c",
    // A backend's entry that is not valid and names another Vpc.
    "2d77aecc000000070d.400c1d00000003.20ec9a000000501c00000e040000ee00d8",
    // A given external address that became an allocated one while the answer was lost.
    "0000000000000000000000000000000000000000805b.21a7fd0000000c000000460eb3.1d000d.4247df000000006200000e9a.8117",
    // A range that a gateway got while nobody needed its inside router for a moment.
    "70160710000000000000000000000000000000008002.1d93.f4af2c70.630464.00002b.63eb480000000046.0088140000596c",
    // A gateway that went and was back, with another range, before anybody looked.
    "00000300000000000000000000000000000000008006.1d06.b2a09e.42103000000039",
    // Pods for which there was no address left, while another Subnet was their namespace's default.
    "003f000000000b7f00000000000000000000000080.421f7c00000034.00b709.c2.21fe3700000000300002.20.423b1406",
    "000000000000000000000000000000000000000080.00.634952000000005010.5f.dd.00ae300000000010.a1.63263000000000000015.\
     4fb67f0c00000001af",
    // A Vpc that needed no gateway for a moment, and then the same again.
    "1d0000000000000000000000000000000000000080.a514e3000000000000000036000000000010.428f05.215429.\
     21700e00000000000000000000002a0020",
];

#[test]
fn what_once_went_wrong() {
    for text in ONCE_WRONG {
        play(Memory::new(), None, &from_text(text))
            .unwrap_or_else(|error| panic!("{text}\n{error}"));
    }
}

#[test]
fn cases_are_spelled_in_hexadecimal() {
    let mut case: Happenings = vec![[0; 32], [0; 32], [255; 32]];
    case[1][3] = 10;
    case[1][4] = 0x70;
    assert_eq!(from_text(&to_text(&case)), case);
}
