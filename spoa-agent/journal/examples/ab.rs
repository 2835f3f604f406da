use journal::*;
use std::{fs::File, os::unix::fs::FileExt, time::*};
fn main() {
    let size: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let n = (256 << 10) / (size + 8);
    let payload = vec![b'x'; size];
    let batch = vec![b'x'; n * (size + 8)];
    let d = tempfile::TempDir::new().unwrap();
    let open = |name: &str, tail| {
        Journal::open(Options {
            tail_bytes: tail,
            sync_interval: Duration::ZERO,
            flush_interval: Duration::from_secs(100),
            segment_bytes: 64 << 20,
            max_bytes: 128 << 20,
            ..Options::new(d.path().join(name))
        })
        .unwrap()
        .0
    };
    let a = open("a", 16 << 20);
    let b = open("b", 0);
    let c = open("c", 1 << 20);
    let mut f = File::create(d.path().join("p0")).unwrap();
    let mut off = 0u64;
    let mut k = 0;
    let mut t = vec![vec![]; 6];
    let mut v: Vec<u8> = Vec::with_capacity(300 << 10);
    for _ in 0..2000 {
        let s = Instant::now();
        f.write_all_at(&batch, off).unwrap();
        off += batch.len() as u64;
        t[0].push(s.elapsed());
        if off > 64 << 20 {
            off = 0;
            k += 1;
            let _ = std::fs::remove_file(d.path().join(format!("p{}", k - 1)));
            f = File::create(d.path().join(format!("p{k}"))).unwrap();
        }
        for (i, j) in [&a, &c, &b].into_iter().enumerate() {
            let s = Instant::now();
            for _ in 0..n {
                j.append(size, |o| o.extend_from_slice(&payload)).unwrap();
            }
            j.try_commit();
            t[1 + i].push(s.elapsed());
            while j.written() < j.appended() {
                j.try_commit();
            }
        }
        let s = Instant::now();
        v.clear();
        for _ in 0..n {
            v.extend_from_slice(&[0; 8]);
            v.extend_from_slice(&payload);
        }
        std::hint::black_box(&v);
        t[4].push(s.elapsed());
        let s = Instant::now();
        std::hint::black_box(crc32c::crc32c(&v));
        t[5].push(s.elapsed());
    }
    for (name, t) in ["plain", "tail16", "tail1", "tail0", "memcpy", "crc"]
        .iter()
        .zip(&mut t)
    {
        t.sort();
        println!(
            "{name}: p10 {:?} median {:?}",
            t[t.len() / 10],
            t[t.len() / 2]
        );
    }
}
