//! One connection, and what a target can do to it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use shadow::{AnswerError, AnswerLimits, SendError, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::origin::{Origin, Reply, ok, request, sender, sender_to, sender_with};

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_request_lost_with_a_kept_connection_is_sent_once_more_and_told_so() {
    // The first connection answers once, hears the second request, and is gone.
    let origin = Origin::start(|heard| match (heard.connection, heard.nth) {
        (0, 1) => Reply::Last(Vec::new()),
        _ => ok(),
    })
    .await;
    let (mut sender, counters) = sender(&origin);
    assert_eq!(sender.send(&request("POST", b"/1")).await.attempts, 1);
    let sent = sender.send(&request("POST", b"/2")).await;
    assert_eq!((sent.attempts, sent.result.unwrap().status), (2, 200));
    assert_eq!(counters.stale_retries.load(Ordering::Relaxed), 1);
    let targets: Vec<_> = origin
        .heard()
        .iter()
        .map(|heard| (heard.connection, heard.target()))
        .collect();
    assert_eq!(
        targets,
        [(0, "/1".into()), (0, "/2".into()), (1, "/2".into())]
    );
}

#[tokio::test]
async fn a_request_lost_with_a_fresh_connection_is_not_repeated_here() {
    let origin = Origin::start(|_| Reply::Last(Vec::new())).await;
    let (mut sender, _) = sender(&origin);
    let sent = sender.send(&request("POST", b"/1")).await;
    assert_eq!(sent.attempts, 1);
    assert!(matches!(
        sent.result,
        Err(SendError::Closed {
            silent: true,
            status: None,
            ..
        })
    ));
    assert_eq!(origin.heard().len(), 1);
}

#[tokio::test]
async fn once_a_byte_of_the_answer_came_nothing_is_repeated_here() {
    let origin = Origin::start(|heard| match heard.nth {
        0 => ok(),
        _ => Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".to_vec()),
    })
    .await;
    let (mut sender, _) = sender(&origin);
    sender.send(&request("POST", b"/1")).await.result.unwrap();
    let sent = sender.send(&request("POST", b"/2")).await;
    assert_eq!(sent.attempts, 1);
    assert!(matches!(
        sent.result,
        Err(SendError::Closed {
            silent: false,
            status: Some(200),
            ..
        })
    ));
}

#[tokio::test]
async fn every_framing_drips_in_and_keeps_the_connection_where_it_may() {
    let origin = Origin::start(|heard| {
        Reply::Drip(match heard.target().as_str() {
            "/length" => b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc".to_vec(),
            "/chunked" => {
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 x\r\nTransfer-Encoding: chunked\r\n\r\n\
                3\r\nabc\r\na;x\r\n0123456789\r\n0\r\nt: 1\r\n\r\n"
                    .to_vec()
            }
            "/empty" => b"HTTP/1.1 204 x\r\n\r\n".to_vec(),
            _ => b"HTTP/1.1 304 x\r\ncontent-length: 5\r\n\r\n".to_vec(),
        })
    })
    .await;
    let limits = AnswerLimits {
        keep: 5,
        ..AnswerLimits::default()
    };
    let (mut sender, _) = sender_with(&origin, Timeouts::default(), limits);
    for (target, status, body, length) in [
        ("/length", 200, "abc", 3),
        ("/chunked", 201, "abc01", 13),
        ("/empty", 204, "", 0),
        ("/unchanged", 304, "", 0),
        ("/length", 200, "abc", 3),
    ] {
        let sent = sender.send(&request("GET", target.as_bytes())).await;
        let answer = sent.result.unwrap();
        assert_eq!(
            (answer.status, &answer.body[..], answer.body_length),
            (status, body.as_bytes(), length)
        );
        assert!(answer.whole);
        assert!(sent.timing.first_byte.unwrap() <= sent.timing.end);
    }
    assert!(origin.heard().iter().all(|heard| heard.connection == 0));
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_is_whole_and_costs_it() {
    let origin = Origin::start(|_| Reply::Last(b"HTTP/1.1 200 OK\r\n\r\nall of it".to_vec())).await;
    let (mut sender, counters) = sender(&origin);
    for _ in 0..2 {
        let answer = sender.send(&request("GET", b"/")).await.result.unwrap();
        assert_eq!(
            (answer.status, answer.body_length, answer.whole),
            (200, 9, true)
        );
    }
    assert_eq!(counters.connects.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_huge_answer_is_read_to_its_end_or_to_the_limit_in_little_memory() {
    const SIZE: usize = 3_000_000;
    let origin = Origin::start(|_| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
        Reply::Bytes([head.as_bytes(), &b"x".repeat(SIZE)].concat())
    })
    .await;
    let limits = AnswerLimits {
        keep: 10,
        ..AnswerLimits::default()
    };
    let (mut all, _) = sender_with(&origin, Timeouts::default(), limits);
    let answer = all.send(&request("GET", b"/")).await.result.unwrap();
    assert_eq!(
        (answer.body.len(), answer.body_length, answer.whole),
        (10, SIZE as u64, true)
    );
    all.send(&request("GET", b"/")).await.result.unwrap();
    assert!(origin.heard().iter().all(|heard| heard.connection == 0));

    let limits = AnswerLimits {
        body: 1_000_000,
        ..AnswerLimits::default()
    };
    let (mut some, counters) = sender_with(&origin, Timeouts::default(), limits);
    let answer = some.send(&request("GET", b"/")).await.result.unwrap();
    assert_eq!((answer.status, answer.whole), (200, false));
    let read = counters.bytes_received.load(Ordering::Relaxed);
    assert!(read < 1_100_000, "{read}");
}

#[tokio::test]
async fn what_is_not_http_is_an_error_and_costs_the_connection() {
    let origin = Origin::start(|_| Reply::Bytes(b"\x15\x03\x01\0\x02\x02F".to_vec())).await;
    let (mut sender, counters) = sender(&origin);
    for _ in 0..2 {
        let sent = sender.send(&request("GET", b"/")).await;
        assert!(matches!(
            sent.result,
            Err(SendError::Answer(AnswerError::NotHttp))
        ));
    }
    assert_eq!(counters.connects.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_answer_nobody_asked_for_is_never_taken_for_the_next() {
    let twice =
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n";
    let origin = Origin::start(|_| Reply::Bytes(twice.to_vec())).await;
    let (mut sender, _) = sender(&origin);
    for _ in 0..3 {
        assert_eq!(
            sender
                .send(&request("GET", b"/"))
                .await
                .result
                .unwrap()
                .status,
            200
        );
    }
    let connections: Vec<_> = origin
        .heard()
        .iter()
        .map(|heard| heard.connection)
        .collect();
    assert_eq!(connections, [0, 1, 2]);
}

#[tokio::test]
async fn a_target_that_never_answers_is_left_after_the_response_timeout() {
    let origin = Origin::start(|_| Reply::Silence).await;
    let timeouts = Timeouts {
        response: SHORT,
        ..Timeouts::default()
    };
    let (mut sender, _) = sender_with(&origin, timeouts, AnswerLimits::default());
    let sent = sender.send(&request("GET", b"/")).await;
    assert!(matches!(
        sent.result,
        Err(SendError::ResponseTimeout {
            limit: SHORT,
            status: None
        })
    ));
    assert_eq!(sent.timing.first_byte, None);
    assert!(sent.timing.end >= SHORT);
}

#[tokio::test]
async fn a_target_that_does_not_take_the_request_is_left_after_the_write_timeout() {
    // It accepts, by its backlog, and reads nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let timeouts = Timeouts {
        write: SHORT,
        ..Timeouts::default()
    };
    let mut sender = sender_to(listener.local_addr().unwrap(), timeouts);
    let mut asked = request("PUT", b"/");
    asked.body.content = Bytes::from(vec![0; 64 * 1024 * 1024]);
    let sent = sender.send(&asked).await;
    assert!(
        matches!(sent.result, Err(SendError::WriteTimeout(SHORT))),
        "{:?}",
        sent.result
    );
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_out_is_the_answer_and_costs_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sender = sender_to(listener.local_addr().unwrap(), Timeouts::default());
    let target = tokio::spawn(async move {
        let mut open = Vec::new();
        for answer in ["413 Too Large", "200 OK"] {
            let (mut tcp, _) = listener.accept().await.unwrap();
            assert!(tcp.read(&mut [0; 1000]).await.unwrap() > 0);
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            tcp.write_all(answer.as_bytes()).await.unwrap();
            // Open, and reading no more.
            open.push(tcp);
        }
        open
    });
    let mut large = request("PUT", b"/");
    large.body.content = Bytes::from(vec![0; 64 * 1024 * 1024]);
    assert_eq!(sender.send(&large).await.result.unwrap().status, 413);
    assert_eq!(
        sender
            .send(&request("PUT", b"/"))
            .await
            .result
            .unwrap()
            .status,
        200
    );
    assert_eq!(target.await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_the_target_says_on_an_idle_connection_answers_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sender = sender_to(listener.local_addr().unwrap(), Timeouts::default());
    let (idle, mut is_idle) = tokio::sync::mpsc::channel::<()>(1);
    let target = tokio::spawn(async move {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let (mut first, _) = listener.accept().await.unwrap();
        assert!(first.read(&mut [0; 1000]).await.unwrap() > 0);
        first.write_all(answer).await.unwrap();
        is_idle.recv().await.unwrap();
        first
            .write_all(b"HTTP/1.1 408 x\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        is_idle.close();
        let (mut second, _) = listener.accept().await.unwrap();
        assert!(second.read(&mut [0; 1000]).await.unwrap() > 0);
        second.write_all(answer).await.unwrap();
    });
    assert_eq!(
        sender
            .send(&request("POST", b"/1"))
            .await
            .result
            .unwrap()
            .status,
        200
    );
    idle.send(()).await.unwrap();
    idle.closed().await;
    // The kernel has it; the runtime must look.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let sent = sender.send(&request("POST", b"/2")).await;
    assert_eq!((sent.attempts, sent.result.unwrap().status), (1, 200));
    target.await.unwrap();
}

#[tokio::test]
async fn an_unsendable_request_reaches_nobody() {
    let origin = Origin::start(|_| ok()).await;
    let (mut sender, counters) = sender(&origin);
    let sent = sender.send(&request("GET", b"/a b")).await;
    assert!(matches!(
        sent.result,
        Err(SendError::Unsendable(shadow::Unsendable::Target))
    ));
    assert_eq!(
        (sent.attempts, counters.connects.load(Ordering::Relaxed)),
        (0, 0)
    );
}
