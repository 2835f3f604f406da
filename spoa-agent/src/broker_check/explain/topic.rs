//! The topic: whether it takes what the agent sends, and keeps it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::remedies;
use crate::broker_check::finding::{Finding, Step, Verdict};
use crate::broker_check::seen::{Denial, Observations, Partition, Probe, Topic, TopicState};

/// Judges the topic and the probe.
pub(super) fn explain(seen: &Observations, found: &mut Vec<Finding>) {
    let Some(topic) = &seen.topic else {
        return;
    };
    found.extend(state(seen, topic));
    if let TopicState::There(partitions) = &topic.state {
        found.extend(settings(seen, topic, partitions));
    }
    if let Some(probe) = &seen.probe {
        probed(topic, probe, found);
    }
}

fn state(seen: &Observations, topic: &Topic) -> Option<Finding> {
    let about =
        |verdict, code, says: String| Finding::new(verdict, Step::Topic, &topic.name, code, says);
    Some(match &topic.state {
        TopicState::There(partitions) => partitioned(topic, partitions),
        TopicState::Missing => missing(seen, topic),
        TopicState::Denied => about(
            Verdict::Error,
            "topic_denied",
            "the user may not even see the topic".to_owned(),
        )
        .advice("the agent needs the rights Describe and Write in it")
        .remedy(remedies::topic_right(&topic.name, &["Describe", "Write"])),
        TopicState::Other(said) => about(Verdict::Error, "topic_error", said.clone()),
    })
}

fn missing(seen: &Observations, topic: &Topic) -> Finding {
    let about =
        |verdict, code, says: &str| Finding::new(verdict, Step::Topic, &topic.name, code, says);
    match &topic.creatable {
        Some(Ok(())) => about(Verdict::Note, "topic_missing", "the topic is not there; the agent may make it, and will"),
        Some(Err(denial)) if denial.is_about_rights => {
            about(Verdict::Error, "topic_missing", "the topic is not there, and the user may not make it")
                .advice("let somebody else make it, or give the user the right Create in it; without the right Describe a topic that is there \
                         looks missing too")
                .remedy(remedies::topic_right(&topic.name, &["Create", "Describe", "Write"]))
        }
        Some(Err(denial)) => {
            let says = format!("the topic is not there, and cannot be made: {}", denial.said);
            Finding::new(Verdict::Error, Step::Topic, &topic.name, "topic_missing", says)
                .advice("look at `kafka.partitions` and `kafka.replication`: no more replicas than brokers are possible")
        }
        None if seen.client.may_create => about(
            Verdict::Warning,
            "topic_missing",
            "the topic is not there; whether the agent may make it cannot be asked with this login",
        ),
        None => about(Verdict::Error, "topic_missing", "the topic is not there, or the user may not describe it")
            .advice("make it, set `kafka.topic`, or let the agent make it (`kafka.create_topics`)"),
    }
}

fn partitioned(topic: &Topic, partitions: &[Partition]) -> Finding {
    let about =
        |verdict, code, says: String| Finding::new(verdict, Step::Topic, &topic.name, code, says);
    let without: Vec<String> = of(partitions, |one| one.leader.is_none());
    if !without.is_empty() {
        let says = format!("partitions without a leader: {}", without.join(", "));
        return about(Verdict::Error, "no_leader", says)
            .advice("the brokers that have them are down; what has a key of these partitions waits in the journal");
    }
    let least = partitions.iter().map(|one| one.in_sync).min().unwrap_or(0);
    let most = partitions.iter().map(|one| one.replicas).max().unwrap_or(0);
    let behind: Vec<String> = of(partitions, |one| one.in_sync < one.replicas);
    let says = format!(
        "partitions: {}, replicas: {most}, least in sync: {least}",
        partitions.len()
    );
    if behind.is_empty() {
        return about(Verdict::Ok, "topic", says);
    }
    about(
        Verdict::Warning,
        "replicas_behind",
        format!("{says}; behind: {}", behind.join(", ")),
    )
    .advice("a broker is down or slow; while it is, another failure may stop writing")
}

fn of(partitions: &[Partition], is_meant: impl Fn(&Partition) -> bool) -> Vec<String> {
    let meant = partitions.iter().filter(|one| is_meant(one));
    meant.map(|one| one.id.to_string()).collect()
}

fn settings(seen: &Observations, topic: &Topic, partitions: &[Partition]) -> Vec<Finding> {
    match &topic.settings {
        None => Vec::new(),
        Some(Err(denial)) => vec![
            Finding::new(
                Verdict::Note,
                Step::Topic,
                &topic.name,
                "settings_unknown",
                format!("the settings of the topic are not told: {}", denial.said),
            )
            .advice("with the right DescribeConfigs the check also looks at `max.message.bytes` and `min.insync.replicas`"),
        ],
        Some(Ok(settings)) => [
            sizes(seen, topic, settings),
            in_sync(topic, partitions, settings),
            Some(kept(topic, settings)),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

fn sizes(
    seen: &Observations,
    topic: &Topic,
    settings: &BTreeMap<String, String>,
) -> Option<Finding> {
    let largest: usize = settings.get("max.message.bytes")?.parse().ok()?;
    let ours = seen.client.message_max_bytes;
    if ours <= largest {
        let says = format!("max.message.bytes {largest} takes our largest message of {ours}");
        return Some(Finding::new(
            Verdict::Ok,
            Step::Topic,
            &topic.name,
            "message_size",
            says,
        ));
    }
    let says = format!("max.message.bytes is {largest}, and the agent sends up to {ours}");
    let finding = Finding::new(
        Verdict::Error,
        Step::Topic,
        &topic.name,
        "message_size",
        says,
    );
    Some(
        finding
            .advice(format!(
                "the broker refuses larger batches: set `kafka.message_max_bytes` to {} at most (larger exchanges go in parts), or raise the topic's \
                 limit",
                largest.saturating_sub(BATCH_HEAD)
            ))
            .remedy(remedies::topic_setting(&topic.name, "max.message.bytes", ours.saturating_add(BATCH_HEAD))),
    )
}

fn in_sync(
    topic: &Topic,
    partitions: &[Partition],
    settings: &BTreeMap<String, String>,
) -> Option<Finding> {
    let needed: usize = settings.get("min.insync.replicas")?.parse().ok()?;
    let short: Vec<String> = of(partitions, |one| one.in_sync < needed);
    let replicas = partitions.iter().map(|one| one.replicas).min()?;
    let about =
        |verdict, code, says: String| Finding::new(verdict, Step::Topic, &topic.name, code, says);
    if !short.is_empty() {
        let says = format!(
            "min.insync.replicas is {needed}, and fewer are in sync in partitions {}",
            short.join(", ")
        );
        let finding = about(Verdict::Error, "too_few_in_sync", says);
        return Some(if replicas < needed {
            finding
                .advice(format!("with {replicas} replicas that can never be: make the topic with more, or lower the setting"))
                .remedy(remedies::topic_setting(&topic.name, "min.insync.replicas", replicas))
        } else {
            finding.advice("bring the missing brokers back; until then records wait in the journal")
        });
    }
    if replicas == 1 {
        let says = "there is one copy of each record".to_owned();
        return Some(
            about(Verdict::Note, "one_copy", says)
                .advice("when that broker's disk fails, they are gone"),
        );
    }
    if needed == 1 {
        let says = format!(
            "min.insync.replicas is 1 of {replicas}: a record may be acknowledged that one broker has"
        );
        return Some(
            about(Verdict::Note, "one_in_sync", says).remedy(remedies::topic_setting(
                &topic.name,
                "min.insync.replicas",
                2,
            )),
        );
    }
    None
}

fn kept(topic: &Topic, settings: &BTreeMap<String, String>) -> Finding {
    let about =
        |verdict, code, says: String| Finding::new(verdict, Step::Topic, &topic.name, code, says);
    let setting = |name: &str| settings.get(name).map(String::as_str);
    if setting("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        return about(
            Verdict::Error,
            "compacted",
            "the topic is compacted: of each key only the last record would stay".to_owned(),
        )
        .remedy(remedies::topic_setting(
            &topic.name,
            "cleanup.policy",
            "delete",
        ));
    }
    let time = match setting("retention.ms").and_then(|text| text.parse::<i64>().ok()) {
        None | Some(..0) => "for ever".to_owned(),
        Some(ms) => format!("for {}", span(Duration::from_millis(ms.unsigned_abs()))),
    };
    let bytes = match setting("retention.bytes").and_then(|text| text.parse::<i64>().ok()) {
        None | Some(..0) => String::new(),
        Some(bytes) => format!(", {bytes} bytes per partition at most"),
    };
    about(
        Verdict::Ok,
        "retention",
        format!("records are kept {time}{bytes}"),
    )
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _days => format!("{} days", seconds / 86400),
    }
}

fn probed(topic: &Topic, probe: &Probe, found: &mut Vec<Finding>) {
    let about =
        |verdict, code, says: String| Finding::new(verdict, Step::Probe, &topic.name, code, says);
    if let Some((partition, denial)) = probe.refused.first() {
        let mut partitions: Vec<i32> = probe
            .refused
            .iter()
            .map(|(partition, _)| *partition)
            .collect();
        partitions.dedup();
        let says = match partition {
            ..0 => format!("nothing can be sent: {}", denial.said),
            _some => format!(
                "{} partitions took nothing; partition {partition}: {}",
                partitions.len(),
                denial.said
            ),
        };
        found.push(writing_refused(
            topic,
            about(Verdict::Error, "write_refused", says),
            denial,
        ));
    }
    if probe.sent == 0 {
        return;
    }
    let mut trips = probe.round_trips.clone();
    trips.sort();
    let says = match (percentile(&trips, 50), percentile(&trips, 99)) {
        (Some(half), Some(most)) => format!(
            "{} messages sent; round trip p50 {:.1} ms, p99 {:.1} ms (of {})",
            probe.sent,
            half.as_secs_f64() * 1e3,
            most.as_secs_f64() * 1e3,
            trips.len()
        ),
        _none => format!("{} messages sent", probe.sent),
    };
    found.push(about(Verdict::Ok, "written", says));
    match &probe.read {
        None => {}
        Some(Ok(read)) if *read == probe.sent => {
            found.push(about(
                Verdict::Ok,
                "read",
                format!("{read} messages read again"),
            ));
        }
        Some(Ok(read)) => {
            let says = format!(
                "{} messages sent, and only {read} could be read in time",
                probe.sent
            );
            found.push(about(Verdict::Warning, "read_short", says));
        }
        // The agent itself only writes.
        Some(Err(denial)) => {
            let says = format!("the messages cannot be read: {}", denial.said);
            let finding = about(Verdict::Warning, "read_refused", says)
                .advice("the agent only writes; for `replay --from kafka` the user needs the right Read in the topic and in its group");
            found.push(finding.remedy(remedies::topic_right(&topic.name, &["Read", "Describe"])));
        }
    }
}

fn writing_refused(topic: &Topic, finding: Finding, denial: &Denial) -> Finding {
    if denial.is_about_rights {
        return finding
            .advice("the user lacks the right Write in the topic; with brokers before 2.8, also IdempotentWrite in the cluster")
            .remedy(remedies::topic_right(&topic.name, &["Write", "Describe"]));
    }
    finding.advice("its leader is not reached, or too few replicas are in sync: see the listeners and the topic above")
}

fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let last = sorted.len().checked_sub(1)?;
    // The smallest that is not exceeded by that share of all.
    let at = sorted
        .len()
        .saturating_mul(percent)
        .div_ceil(100)
        .saturating_sub(1);
    sorted.get(at.min(last)).copied()
}

/// A batch has a head of its own, which counts.
const BATCH_HEAD: usize = 1024;
