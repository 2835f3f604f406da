//! The engine: order, bounds, trouble, and the account of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use exchange::{Body, Exchange, Extent};
use parking_lot::Mutex;
use shadow::{Closed, Dropped, Engine, Outcome};
use tokio::time::Instant;

use crate::origin::{
    Origin, Reply, Told, config, exchange, ok, refusing, request, status, target_at,
};

/// Nobody waits this long, unless something is wrong.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn start(config: shadow::Config) -> (Engine, Arc<Told>) {
    let told = Arc::new(Told::default());
    (Engine::start(config, told.clone()).unwrap(), told)
}

fn all(range: std::ops::RangeInclusive<u64>, word: &str) -> Vec<(u64, String)> {
    range.map(|position| (position, word.to_owned())).collect()
}

/// `position`, in the lane that the position falls to.
fn nth(position: u64, lanes: u64) -> Arc<Exchange> {
    let lane = u16::try_from(position % lanes + 1).unwrap();
    exchange(position, lane, &format!("/{lane}/{position}"), 200)
}

/// Per lane, the positions in the order in which the target heard them.
fn heard_by_lane(origin: &Origin) -> HashMap<String, Vec<u64>> {
    let mut lanes: HashMap<String, Vec<u64>> = HashMap::new();
    for heard in origin.heard() {
        let target = heard.target();
        let mut parts = target.split('/').skip(1);
        let lane = parts.next().unwrap().to_owned();
        lanes
            .entry(lane)
            .or_default()
            .push(parts.next().unwrap().parse().unwrap());
    }
    lanes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_exchange_arrives_once_and_in_the_order_of_its_client_connection() {
    let origin = Origin::start(|_| ok()).await;
    let (engine, told) = start(config(origin.target()));
    for position in 1..=6400 {
        engine.offer(nth(position, 64)).await.unwrap();
    }
    engine.settled().await;
    assert_eq!(told.words(), all(1..=6400, "200"));
    let lanes = heard_by_lane(&origin);
    assert_eq!(lanes.len(), 64);
    for positions in lanes.values() {
        assert_eq!(positions.len(), 100);
        assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    }
    let counters = engine.counters();
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(
        (read(&counters.offered), read(&counters.settled)),
        (6400, 6400)
    );
    assert_eq!(
        (
            read(&counters.held),
            read(&counters.held_bytes),
            read(&counters.in_flight)
        ),
        (0, 0, 0)
    );
    assert!(read(&counters.connects) <= 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_exchange_arrives_while_the_limit_follows_a_target_that_is_busy_now_and_then() {
    let number = AtomicUsize::new(0);
    let origin = Origin::start(move |_| match number.fetch_add(1, Ordering::Relaxed) % 50 {
        0 => status(429),
        _ => ok(),
    })
    .await;
    let mut config = config(origin.target());
    config.adaptive = true;
    config.min_in_flight = 1;
    config.retry.max_attempts = 1000;
    let (engine, told) = start(config);
    for position in 1..=3200 {
        engine.offer(nth(position, 64)).await.unwrap();
    }
    engine.settled().await;
    assert_eq!(told.words(), all(1..=3200, "200"));
    let allowed = engine.counters().allowed.load(Ordering::Relaxed);
    assert!((1..=8).contains(&allowed), "{allowed}");
}

#[tokio::test]
async fn one_client_connection_waits_for_nobody_but_itself() {
    let origin = Origin::start(|heard| match heard.target().as_str() {
        "/held" => Reply::Held(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()),
        _ => ok(),
    })
    .await;
    let (engine, told) = start(config(origin.target()));
    engine.offer(exchange(1, 1, "/held", 200)).await.unwrap();
    engine.offer(exchange(2, 1, "/behind", 200)).await.unwrap();
    for position in 3..=50 {
        engine
            .offer(exchange(position, 2, "/other", 200))
            .await
            .unwrap();
    }
    origin.heard_at_least(49).await;
    assert!(
        origin
            .heard()
            .iter()
            .all(|heard| heard.target() != "/behind")
    );
    origin.release();
    engine.settled().await;
    assert_eq!(told.words(), all(1..=50, "200"));
}

#[tokio::test]
async fn what_must_not_be_sent_is_told_at_once_and_never_sent() {
    let origin = Origin::start(|_| ok()).await;
    let (engine, told) = start(config(origin.target()));
    let with = |position, request| {
        Arc::new(Exchange {
            position,
            request,
            response: None,
        })
    };
    let bodied = |extent| {
        let mut asked = request("POST", b"/_bulk");
        asked.body = Body {
            content: "{}".into(),
            extent,
        };
        Some(asked)
    };
    engine.offer(with(1, None)).await.unwrap();
    engine
        .offer(with(2, Some(request("CONNECT", b"h:1"))))
        .await
        .unwrap();
    engine
        .offer(with(3, bodied(Extent::Cut { missing: Some(9) })))
        .await
        .unwrap();
    engine
        .offer(with(4, bodied(Extent::NotCaptured { missing: None })))
        .await
        .unwrap();
    engine
        .offer(with(5, Some(request("GET", b"/a\r\nx: y"))))
        .await
        .unwrap();
    engine.offer(with(6, bodied(Extent::Whole))).await.unwrap();
    engine.settled().await;
    let expected = [
        "no request",
        "tunnel",
        "body cut",
        "body not captured",
        "unsendable",
        "200",
    ];
    let words: Vec<String> = told.words().into_iter().map(|(_, word)| word).collect();
    assert_eq!(words, expected);
    assert_eq!(origin.heard().len(), 1);
}

#[tokio::test]
async fn while_the_target_refuses_connections_nothing_is_lost_and_order_is_kept() {
    let (socket, address) = refusing();
    let (engine, told) = start(config(target_at(address)));
    for position in 1..=100 {
        engine.offer(nth(position, 10)).await.unwrap();
    }
    // It was asked often enough for any limit to be reached.
    let counters = engine.counters();
    while counters.connect_failures.load(Ordering::Relaxed) < 30 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(engine.is_target_down());
    assert_eq!(told.all(), []);
    let origin = Origin::start_on(socket.listen(64).unwrap(), |_| ok());
    engine.settled().await;
    assert_eq!(told.words(), all(1..=100, "200"));
    assert!(
        heard_by_lane(&origin)
            .values()
            .all(|lane| lane.len() == 10 && lane.is_sorted())
    );
    assert!(!engine.is_target_down());
    assert_eq!(counters.target_downs.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn once_the_target_is_back_all_connections_work_again() {
    let (socket, address) = refusing();
    let (engine, told) = start(config(target_at(address)));
    // One finds it down; the others come while it is.
    engine.offer(nth(1, 100)).await.unwrap();
    while !engine.is_target_down() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for position in 2..=100 {
        engine.offer(nth(position, 100)).await.unwrap();
    }
    let back = AtomicUsize::new(0);
    let origin = Origin::start_on(socket.listen(64).unwrap(), move |heard| {
        let probe = heard.line() == "HEAD / HTTP/1.1";
        if probe || back.fetch_add(1, Ordering::Relaxed) >= 8 {
            return Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec());
        }
        Reply::Held(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())
    });
    assert_eq!(origin.heard_at_least(8).await.len(), 8);
    origin.release();
    engine.settled().await;
    assert_eq!(told.words(), all(1..=100, "200"));
}

#[tokio::test]
async fn while_the_target_is_down_one_worker_asks_and_no_other_connects() {
    let (_socket, address) = refusing();
    let (engine, _told) = start(config(target_at(address)));
    for position in 1..=100 {
        engine.offer(nth(position, 100)).await.unwrap();
    }
    let counters = engine.counters();
    while counters.probes.load(Ordering::Relaxed) < 20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    engine.drain(far()).await;
    let failures = counters.connect_failures.load(Ordering::Relaxed);
    let probes = counters.probes.load(Ordering::Relaxed);
    assert!(
        failures <= probes + 8,
        "{failures} failures for {probes} probes and 8 workers"
    );
}

#[tokio::test]
async fn a_target_that_says_not_now_gets_the_exchange_again() {
    for code in [429, 502, 503, 504] {
        let failures = AtomicUsize::new(0);
        let origin = Origin::start(move |heard| {
            let first = heard.target() == "/1/2" && failures.fetch_add(1, Ordering::Relaxed) < 3;
            if first { status(code) } else { ok() }
        })
        .await;
        let (engine, told) = start(config(origin.target()));
        for position in 1..=40 {
            engine.offer(nth(position, 2)).await.unwrap();
        }
        engine.settled().await;
        assert_eq!(told.words(), all(1..=40, "200"), "{code}");
        let (_, outcome) = told
            .all()
            .into_iter()
            .find(|(position, _)| *position == 2)
            .unwrap();
        let Outcome::Delivered(delivered) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(delivered.attempts, 4);
        // What followed it on its connection waited.
        let lane = &heard_by_lane(&origin)["1"];
        assert_eq!(lane[..4], [2, 2, 2, 2]);
        assert!(lane.is_sorted());
    }
}

#[tokio::test]
async fn a_not_now_that_the_primary_said_too_is_the_answer() {
    let origin = Origin::start(|_| status(503)).await;
    let (engine, told) = start(config(origin.target()));
    engine.offer(exchange(1, 1, "/", 503)).await.unwrap();
    engine.settled().await;
    assert_eq!(told.words(), all(1..=1, "503"));
    assert_eq!(origin.heard().len(), 1);
}

#[tokio::test]
async fn a_write_that_meets_not_now_to_the_end_is_poison_when_the_target_lives() {
    let origin = Origin::start(|heard| match heard.target().as_str() {
        "/busy" => status(429),
        _ => ok(),
    })
    .await;
    let (engine, told) = start(config(origin.target()));
    engine.offer(exchange(1, 1, "/busy", 201)).await.unwrap();
    engine.offer(exchange(2, 1, "/behind", 200)).await.unwrap();
    engine.settled().await;
    assert_eq!(
        told.words(),
        [(1, "poison".to_owned()), (2, "200".to_owned())]
    );
    assert_eq!(origin.heard().len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_dropped_after_its_attempts_and_takes_nobody_with_it() {
    let origin = Origin::start(|heard| match heard.target().as_str() {
        "/poison" => Reply::Last(Vec::new()),
        "/garbage" => Reply::Last(b"220 smtp ready\r\n".to_vec()),
        _ => ok(),
    })
    .await;
    let (engine, told) = start(config(origin.target()));
    for position in 1..=200 {
        let (port, target) = match position {
            50 => (7, "/poison"),
            51 => (8, "/garbage"),
            n if n % 2 == 0 => (7, "/ok"),
            _ => (9, "/ok"),
        };
        engine
            .offer(exchange(position, port, target, 200))
            .await
            .unwrap();
    }
    engine.settled().await;
    let told = told.all();
    assert_eq!(told.len(), 200);
    for (position, outcome) in told {
        match (position, outcome) {
            (50, Outcome::Dropped(Dropped::Poison { cause, attempts })) => {
                assert_eq!(cause, "closed");
                assert!(attempts >= 5, "{attempts}");
            }
            (51, Outcome::Dropped(Dropped::Poison { cause, .. })) => {
                assert_eq!(cause, "malformed answer");
            }
            (_, Outcome::Delivered(delivered)) => assert_eq!(delivered.status, 200),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_black_hole_loses_nothing_and_is_left_once_it_answers() {
    let awake = Arc::new(AtomicBool::new(false));
    let awake_there = awake.clone();
    let origin = Origin::start(move |_| {
        if awake_there.load(Ordering::Relaxed) {
            ok()
        } else {
            Reply::Silence
        }
    })
    .await;
    let mut config = config(origin.target());
    config.timeouts.response = Duration::from_millis(20);
    config.retry.probe = Duration::from_millis(20);
    let (engine, told) = start(config);
    for position in 1..=30 {
        engine.offer(nth(position, 5)).await.unwrap();
    }
    let counters = engine.counters();
    while counters.probes.load(Ordering::Relaxed) < 8 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(told.all(), []);
    awake.store(true, Ordering::Relaxed);
    engine.settled().await;
    assert_eq!(told.words(), all(1..=30, "200"));
}

#[tokio::test]
async fn a_target_that_knows_no_root_is_asked_with_an_exchange() {
    // `HEAD /` always fails; the first request of all fails too, and puts the target in doubt.
    let first = AtomicBool::new(true);
    let origin = Origin::start(move |heard| {
        let root = heard.line() == "HEAD / HTTP/1.1";
        if root || first.swap(false, Ordering::Relaxed) {
            return Reply::Bytes(b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n".to_vec());
        }
        ok()
    })
    .await;
    let (engine, told) = start(config(origin.target()));
    for position in 1..=20 {
        engine.offer(nth(position, 4)).await.unwrap();
    }
    engine.settled().await;
    assert_eq!(told.words(), all(1..=20, "200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_full_of_faults_gets_everything_and_in_order() {
    // Each exchange fails up to three times, in a way and number that its position decides.
    let failed = Mutex::new(HashMap::<String, u64>::new());
    let done = Arc::new(Mutex::new(HashMap::<String, Vec<u64>>::new()));
    let done_there = done.clone();
    let origin = Origin::start(move |heard| {
        let target = heard.target();
        let Some((lane, position)) = target.trim_start_matches('/').split_once('/') else {
            return ok();
        };
        let position: u64 = position.parse().unwrap();
        let mut failed = failed.lock();
        let times = failed.entry(target.clone()).or_default();
        if *times < [0, 0, 0, 0, 1, 2, 3][usize::try_from(position % 7).unwrap()] {
            *times += 1;
            return match (position + *times) % 6 {
                0 => Reply::Last(Vec::new()),
                1 => status(503),
                2 => Reply::Bytes(
                    b"HTTP/1.1 429 x\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n".into(),
                ),
                3 => Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab".into()),
                4 => Reply::Bytes(b"!".to_vec()),
                _ => Reply::Last(b"HTTP/1.1 20".into()),
            };
        }
        done_there
            .lock()
            .entry(lane.to_owned())
            .or_default()
            .push(position);
        ok()
    })
    .await;
    let (engine, told) = start(config(origin.target()));
    for position in 1..=700 {
        engine.offer(nth(position, 16)).await.unwrap();
    }
    engine.settled().await;
    assert_eq!(told.words(), all(1..=700, "200"));
    let done = done.lock();
    assert_eq!(done.values().map(Vec::len).sum::<usize>(), 700);
    assert!(done.values().all(|lane| lane.is_sorted_by(|a, b| a < b)));
}

#[tokio::test]
async fn an_offer_waits_for_room_and_a_dropped_offer_takes_nothing() {
    let held = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let origin = Origin::start(|_| Reply::Held(held.to_vec())).await;
    let mut config = config(origin.target());
    config.bounds.exchanges = 3;
    let (engine, told) = start(config);
    for position in 1..=3 {
        engine.offer(nth(position, 10)).await.unwrap();
    }
    origin.heard_at_least(3).await;
    let refused = tokio::time::timeout(Duration::from_millis(20), engine.offer(nth(4, 10))).await;
    assert!(refused.is_err(), "took a fourth");
    let (offered, ()) = tokio::join!(engine.offer(nth(5, 10)), async { origin.release() });
    offered.unwrap();
    origin.heard_at_least(4).await;
    origin.release();
    engine.settled().await;
    let positions: Vec<u64> = told
        .words()
        .into_iter()
        .map(|(position, _)| position)
        .collect();
    assert_eq!(positions, [1, 2, 3, 5]);
}

#[tokio::test]
async fn a_drain_ends_what_is_in_flight_and_names_the_rest() {
    let origin =
        Origin::start(|_| Reply::Held(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()))
            .await;
    let (engine, told) = start(config(origin.target()));
    for position in 1..=40 {
        engine.offer(nth(position, 40)).await.unwrap();
    }
    let in_flight = origin.heard_at_least(8).await.len();
    assert_eq!(in_flight, 8);
    let (drained, offered) = tokio::join!(engine.drain(far()), async {
        let offered = engine.offer(nth(41, 40)).await;
        origin.release();
        offered
    });
    assert_eq!(offered, Err(Closed));
    let mut accounted: Vec<u64> = told
        .words()
        .into_iter()
        .map(|(position, _)| position)
        .collect();
    assert_eq!(accounted.len(), 8);
    assert_eq!(drained.not_done.len(), 32);
    accounted.extend(drained.not_done);
    accounted.sort_unstable();
    assert_eq!(accounted, (1..=40).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_drain_does_not_wait_beyond_its_deadline_and_still_accounts_for_everything() {
    let origin = Origin::start(|_| Reply::Silence).await;
    let (engine, told) = start(config(origin.target()));
    for position in 1..=20 {
        engine.offer(nth(position, 20)).await.unwrap();
    }
    origin.heard_at_least(8).await;
    let drained = engine.drain(Instant::now()).await;
    assert_eq!(drained.not_done, (1..=20).collect::<Vec<u64>>());
    assert_eq!(told.all(), []);
    assert_eq!(engine.drain(far()).await.not_done, Vec::<u64>::new());
}
