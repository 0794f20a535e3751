//! Against librdkafka's mock cluster: real sockets and the real client, so that the pointers in `batch_queue` are
//! exercised. What the mock cannot show (transactions, retention) is tested against a real broker elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::error::ErrorKind;

const TOPIC: &str = "events";

struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    settings: KafkaSettings,
}

/// A cluster with one topic.
fn cluster(partitions: i32) -> Cluster {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic(TOPIC, partitions, 1).unwrap();
    let settings = KafkaSettings {
        brokers: mock.bootstrap_servers(),
        fetch_wait_ms: 10,
        metadata_interval_ms: 50,
        connect_timeout_ms: 20_000,
        ..Default::default()
    };
    let producer = settings.connection(&settings.brokers).unwrap().set("linger.ms", "1").create().unwrap();
    Cluster { mock, producer, settings }
}

impl Cluster {
    /// Writes the numbers of a range to a partition: key and value are the number's text.
    fn write(&self, partition: i32, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let text = number.to_string();
            let headers = OwnedHeaders::new()
                .insert(Header { key: "n", value: Some(&text) })
                .insert(Header { key: "n", value: None::<&str> });
            let record = BaseRecord::to(TOPIC).partition(partition).key(&text).payload(&text).headers(headers);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(Duration::from_secs(20)).unwrap();
    }

    fn open(&self, resume: &Offsets, until: Option<&Offsets>) -> Result<KafkaSource> {
        KafkaSource::open(&self.settings, &table(StartAt::Earliest), resume, until)
    }
}

fn table(start: StartAt) -> KafkaTopic {
    KafkaTopic { topic: TOPIC.to_owned(), brokers: None, start }
}

fn limits() -> PollLimits {
    PollLimits { records_max: 10_000, bytes_max: usize::MAX, wait: Duration::from_millis(50) }
}

type Seen = BTreeMap<Partition, Vec<(Offset, String)>>;

/// Polls until `enough`; fails after a minute.
fn read_until(source: &mut KafkaSource, limits: PollLimits, mut enough: impl FnMut(&Seen, &Polled) -> bool) -> Seen {
    let mut seen = Seen::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let polled = source
            .poll(limits, &mut |record| {
                let text = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                assert_eq!(record.key, record.value);
                seen.entry(record.partition).or_default().push((record.offset, text));
            })
            .unwrap();
        if enough(&seen, &polled) {
            return seen;
        }
        assert!(Instant::now() < deadline, "still waiting: {polled:?}");
    }
}

fn count(seen: &Seen) -> usize {
    seen.values().map(Vec::len).sum()
}

fn numbers(range: std::ops::Range<u32>, first_offset: Offset) -> Vec<(Offset, String)> {
    range.enumerate().map(|(index, number)| (first_offset + index as Offset, number.to_string())).collect()
}

#[test]
fn every_record_arrives_once_and_in_order_within_its_partition() {
    let cluster = cluster(4);
    for partition in 0..4 {
        cluster.write(partition, 0..3000);
    }
    let mut source = cluster.open(&Offsets::new(), None).unwrap();
    assert_eq!(source.positions(), (0..4).map(|partition| (partition, 0)).collect());
    let small = PollLimits { records_max: 777, ..limits() };
    let seen = read_until(&mut source, small, |seen, _| count(seen) >= 12_000);
    assert_eq!(seen, (0..4).map(|partition| (partition, numbers(0..3000, 0))).collect());
    assert_eq!(source.positions(), (0..4).map(|partition| (partition, 3000)).collect());
}

#[test]
fn a_poll_brings_no_more_records_than_it_may() {
    let cluster = cluster(1);
    cluster.write(0, 0..100);
    let mut source = cluster.open(&Offsets::new(), None).unwrap();
    let one = PollLimits { records_max: 1, ..limits() };
    let mut next = 0;
    let deadline = Instant::now() + Duration::from_secs(60);
    while next < 100 && Instant::now() < deadline {
        let mut records = 0;
        source
            .poll(one, &mut |record| {
                assert_eq!(record.offset, next);
                records += 1;
            })
            .unwrap();
        assert!(records <= 1);
        next += records;
    }
    assert_eq!(next, 100);
}

#[test]
fn reading_resumes_at_exactly_the_offset_asked_for() {
    let cluster = cluster(2);
    cluster.write(0, 0..500);
    cluster.write(1, 0..500);
    let mut source = cluster.open(&Offsets::from([(0, 123), (1, 500)]), None).unwrap();
    let seen = read_until(&mut source, limits(), |seen, _| count(seen) >= 377);
    assert_eq!(seen, Seen::from([(0, numbers(123..500, 123))]));
    cluster.write(1, 500..510);
    let seen = read_until(&mut source, limits(), |seen, _| count(seen) >= 10);
    assert_eq!(seen, Seen::from([(1, numbers(500..510, 500))]));
}

#[test]
fn latest_begins_at_the_end_and_earliest_at_the_beginning() {
    let cluster = cluster(1);
    cluster.write(0, 0..50);
    let latest = KafkaSource::open(&cluster.settings, &table(StartAt::Latest), &Offsets::new(), None).unwrap();
    assert_eq!(latest.positions(), Offsets::from([(0, 50)]));
    let earliest = cluster.open(&Offsets::new(), None).unwrap();
    assert_eq!(earliest.positions(), Offsets::from([(0, 0)]));
    // A query that has a checkpoint has seen the table: a partition missing from it is younger, and read from its start.
    let cluster = self::cluster(2);
    cluster.write(1, 0..5);
    let latest = KafkaSource::open(&cluster.settings, &table(StartAt::Latest), &Offsets::from([(0, 0)]), None).unwrap();
    assert_eq!(latest.positions(), Offsets::from([(0, 0), (1, 0)]));
}

#[test]
fn a_bounded_read_ends_where_it_was_told_to() {
    let cluster = cluster(2);
    cluster.write(0, 0..100);
    cluster.write(1, 0..10);
    let (begin, end) = snapshot_offsets(&cluster.settings, &table(StartAt::Earliest)).unwrap();
    assert_eq!((begin.clone(), end.clone()), (Offsets::from([(0, 0), (1, 0)]), Offsets::from([(0, 100), (1, 10)])));
    cluster.write(0, 100..200);
    let mut source = cluster.open(&begin, Some(&end)).unwrap();
    let seen = read_until(&mut source, limits(), |_, polled| polled.finished);
    assert_eq!(seen, Seen::from([(0, numbers(0..100, 0)), (1, numbers(0..10, 0))]));
    assert_eq!(source.positions(), end);
    // Nothing to read is finished at once.
    let mut source = cluster.open(&end, Some(&end)).unwrap();
    assert!(source.poll(limits(), &mut |_| panic!("nothing is left")).unwrap().finished);
}

#[test]
fn ends_tell_the_lag() {
    let cluster = cluster(1);
    cluster.write(0, 0..100);
    let mut source = cluster.open(&Offsets::new(), None).unwrap();
    let one = PollLimits { records_max: 1, ..limits() };
    let mut ends = Offsets::new();
    read_until(&mut source, one, |seen, polled| {
        ends = polled.ends.clone();
        count(seen) == 1
    });
    assert_eq!(ends, Offsets::from([(0, 100)]));
}

#[test]
fn headers_are_there_for_who_asks() {
    let cluster = cluster(1);
    cluster.write(0, 7..8);
    let mut source = cluster.open(&Offsets::new(), None).unwrap();
    let mut headers: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while headers.is_empty() && Instant::now() < deadline {
        let mut visit = |record: Record<'_>| {
            record.headers.unwrap().visit(&mut |key, value| headers.push((key.to_vec(), value.map(<[u8]>::to_vec))));
        };
        source.poll(limits(), &mut visit).unwrap();
    }
    assert_eq!(headers, [(b"n".to_vec(), Some(b"7".to_vec())), (b"n".to_vec(), None)]);
}

#[test]
fn a_source_may_be_dropped_with_messages_queued() {
    let cluster = cluster(4);
    for partition in 0..4 {
        cluster.write(partition, 0..2000);
    }
    for taken in [0, 1, 1500] {
        let mut source = cluster.open(&Offsets::new(), None).unwrap();
        if taken > 0 {
            let some = PollLimits { records_max: taken, ..limits() };
            read_until(&mut source, some, |seen, _| count(seen) > 0);
        }
        drop(source);
    }
}

#[test]
fn a_visitor_that_panics_leaks_nothing_and_the_source_can_still_be_dropped() {
    let cluster = cluster(1);
    cluster.write(0, 0..100);
    let mut source = cluster.open(&Offsets::new(), None).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let poll = std::panic::AssertUnwindSafe(|| source.poll(limits(), &mut |_| panic!("as told")));
        if std::panic::catch_unwind(poll).is_err() {
            break;
        }
        assert!(Instant::now() < deadline);
    }
    drop(source);
}

#[test]
fn an_offset_outside_the_log_names_the_lost_range() {
    let cluster = cluster(1);
    cluster.write(0, 0..10);
    let error = cluster.open(&Offsets::from([(0, 11)]), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.report().contains("partition 0, at offset 11"), "{error:?}");
    assert!(error.report().contains("the partition ends at 10"), "{error:?}");
    let error = cluster.open(&Offsets::from([(0, 3), (5, 4)]), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.report().contains("no longer has this partition"), "{error:?}");

    let topic = Topic { name: TOPIC.into(), name_c: c"events".into(), brokers: "b:9092".into() };
    let error = check_range(&topic, 3, 100, 120, 200).unwrap_err();
    assert!(error.report().contains("offsets 100 to 119 are gone: the partition now begins at 120"), "{error:?}");
    assert_eq!(error.lost().map(|range| range.ends_with(", partition 3, offsets 100 to 119")), Some(true));
    assert!(check_range(&topic, 3, 120, 120, 200).is_ok());
    assert!(check_range(&topic, 3, 200, 120, 200).is_ok());
}

#[test]
fn errors_of_a_partition_stop_the_source_only_where_waiting_cannot_help() {
    let topic = Topic { name: TOPIC.into(), name_c: c"events".into(), brokers: "b:9092".into() };
    let verdict = |code| match judge(&topic, 2, 7, code, "text") {
        Verdict::Fatal(Failure::OutOfRange { partition, position }) => format!("lost {partition} {position}"),
        Verdict::Fatal(Failure::Other(error)) => format!("{:?}", error.kind()),
        Verdict::Trouble(reason) => reason,
    };
    assert_eq!(verdict(RDKafkaErrorCode::AutoOffsetReset), "lost 2 7");
    assert_eq!(verdict(RDKafkaErrorCode::LogTruncation), "lost 2 7");
    assert_eq!(verdict(RDKafkaErrorCode::TopicAuthorizationFailed), "Invalid");
    assert_eq!(verdict(RDKafkaErrorCode::BadMessage), "Corrupt");
    assert_eq!(verdict(RDKafkaErrorCode::UnknownTopicOrPartition), "partition 2 of topic \"events\": text");
}

#[test]
fn an_offset_that_goes_out_of_range_while_reading_stops_the_source() {
    let cluster = cluster(1);
    cluster.write(0, 0..10);
    let mut source = cluster.open(&Offsets::new(), None).unwrap();
    read_until(&mut source, limits(), |seen, _| count(seen) == 10);
    let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE; 5];
    cluster.mock.request_errors(RDKafkaApiKey::Fetch, &errors);
    let deadline = Instant::now() + Duration::from_secs(60);
    let error = loop {
        match source.poll(limits(), &mut |_| ()) {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline),
        }
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.report().contains("partition 0, at offset 10"), "{error:?}");
}

#[test]
fn a_topic_that_does_not_exist_is_named_with_its_brokers() {
    let cluster = cluster(1);
    let missing = KafkaTopic { topic: "evnets".into(), ..table(StartAt::Earliest) };
    // The mock makes any topic it is asked for, unless told otherwise.
    cluster.mock.topic_error("evnets", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let error = KafkaSource::open(&cluster.settings, &missing, &Offsets::new(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.primary(), format!("topic \"evnets\" does not exist on {}", cluster.settings.brokers));
    assert!(error.hint_text().is_some());
}

#[test]
fn brokers_that_do_not_answer_are_unavailable_within_the_time_given() {
    // Bound and never accepted from: the port belongs to nobody else.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let brokers = silent.local_addr().unwrap().to_string();
    let settings = KafkaSettings { brokers: brokers.clone(), connect_timeout_ms: 300, ..Default::default() };
    let error = KafkaSource::open(&settings, &table(StartAt::Earliest), &Offsets::new(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.primary(), format!("no answer from the Kafka brokers at {brokers}"));
}

#[test]
fn brokers_that_go_away_are_trouble_until_they_are_back() {
    let cluster = cluster(1);
    cluster.write(0, 0..10);
    let mut source = cluster.open(&Offsets::new(), None).unwrap();
    read_until(&mut source, limits(), |seen, _| count(seen) == 10);
    cluster.mock.broker_down(1).unwrap();
    let mut trouble = None;
    read_until(&mut source, limits(), |_, polled| {
        trouble = polled.trouble.clone();
        trouble.is_some()
    });
    assert!(trouble.unwrap().starts_with("no answer from the Kafka brokers at "));
    cluster.mock.broker_up(1).unwrap();
    read_until(&mut source, limits(), |_, polled| polled.trouble.is_none());
    cluster.write(0, 10..20);
    let seen = read_until(&mut source, limits(), |seen, _| count(seen) == 10);
    assert_eq!(seen, Seen::from([(0, numbers(10..20, 10))]));
}

#[test]
fn credentials_are_complete_or_refused_and_never_shown() {
    let mut settings = KafkaSettings { security_protocol: SecurityProtocol::SaslSsl, ..Default::default() };
    let error = settings.connection("b:9092").unwrap_err();
    assert_eq!(error.primary(), "security_protocol = \"sasl_ssl\" lacks credentials");
    settings.sasl_mechanism = Some(SaslMechanism::ScramSha512);
    settings.sasl_username = Some("alice".into());
    settings.sasl_password = Some(Secret::new("hush"));
    assert_eq!(settings.connection("b:9092").unwrap().get("sasl.password"), Some("hush"));
    assert!(!format!("{settings:?}").contains("hush"));
    assert!(!serde_json::to_string(&settings).unwrap().contains("hush"));
}

#[test]
fn unknown_keys_are_refused() {
    let known: KafkaSettings = toml::from_str("brokers = \"a:1\"\nsecurity_protocol = \"sasl_ssl\"").unwrap();
    assert_eq!(known.security_protocol, SecurityProtocol::SaslSsl);
    assert!(toml::from_str::<KafkaSettings>("\"group.id\" = \"x\"").is_err());
}

#[test]
fn a_topic_is_known_by_an_id_that_another_one_of_its_name_does_not_have() {
    let (one, other) = (cluster(1), cluster(1));
    let id =
        |cluster: &Cluster| cluster.open(&Offsets::new(), None).unwrap().identity().unwrap().topic.clone().unwrap();
    let first = id(&one);
    assert_eq!(first.len(), 22, "{first}");
    assert_eq!(id(&one), first);
    assert_ne!(id(&other), first);
}

#[test]
fn a_topic_that_was_made_anew_is_found_out_while_it_is_read() {
    let cluster = cluster(1);
    let mut source = cluster.open(&Offsets::new(), None).unwrap();
    source.identity = Some(known_as("another".to_owned()));
    let deadline = Instant::now() + Duration::from_secs(60);
    let error = loop {
        match source.poll(limits(), &mut |_| ()) {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline),
        }
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.report().contains("is not the one that was read"), "{}", error.report());
}

#[test]
fn after_an_outage_nothing_is_handed_out_before_it_is_known_which_topic_it_is() {
    let mut cluster = cluster(1);
    // Only the outage has it asked.
    cluster.settings.metadata_interval_ms = 600_000;
    cluster.write(0, 0..10);
    let mut source = cluster.open(&Offsets::new(), None).unwrap();
    read_until(&mut source, limits(), |seen, _| count(seen) == 10);
    cluster.mock.broker_down(1).unwrap();
    read_until(&mut source, limits(), |_, polled| polled.trouble.is_some());
    source.identity = Some(known_as("another".to_owned()));
    cluster.mock.broker_up(1).unwrap();
    cluster.write(0, 10..20);
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut records = 0;
    let error = loop {
        match source.poll(limits(), &mut |_| records += 1) {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline),
        }
    };
    assert_eq!((error.kind(), records), (ErrorKind::Corrupt, 0));
}

// While a partition has yet to answer, what is wrong is still said, and may become wrong once more.
#[test]
fn brokers_that_go_again_before_they_have_answered_leave_it_in_doubt_which_topic_it_is() {
    let cluster = cluster(1);
    let mut source = cluster.open(&Offsets::new(), None).unwrap();
    (source.trouble, source.in_doubt) = (Some("away".to_owned()), false);
    let go = |source: &mut KafkaSource| {
        source.queue.consumer().context().error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "down");
        source.serve_events().unwrap();
    };
    go(&mut source);
    assert!(source.in_doubt && !source.asked_before);
    // What is asked by then is answered, perhaps, of before they went once more.
    source.question.ask(&source.topic.name_c, Duration::from_secs(10));
    go(&mut source);
    assert!(source.in_doubt && source.asked_before);
}

// A broker that is gone for good would never answer.
#[test]
fn which_topic_it_is_is_asked_of_who_leads_it_now() {
    let mut cluster = cluster(1);
    let mock = MockCluster::new(2).unwrap();
    mock.create_topic(TOPIC, 1, 2).unwrap();
    mock.partition_leader(TOPIC, 0, Some(1)).unwrap();
    cluster.settings.brokers = mock.bootstrap_servers();
    let mut source = cluster.open(&Offsets::new(), None).unwrap();
    assert_eq!(source.question.broker(), Some(1));
    mock.partition_leader(TOPIC, 0, Some(2)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while source.question.broker() != Some(2) {
        assert!(Instant::now() < deadline);
        source.poll(limits(), &mut |_| ()).unwrap();
    }
}

// A topic without new records shows nothing of who leads it.
#[test]
fn a_doubt_ends_although_who_led_the_topic_stays_away() {
    let mut cluster = cluster(1);
    let mock = MockCluster::new(2).unwrap();
    mock.create_topic(TOPIC, 1, 2).unwrap();
    mock.partition_leader(TOPIC, 0, Some(1)).unwrap();
    cluster.settings.brokers = mock.bootstrap_servers();
    let mut source = cluster.open(&Offsets::new(), None).unwrap();
    mock.partition_leader(TOPIC, 0, Some(2)).unwrap();
    mock.broker_down(1).unwrap();
    (source.trouble, source.in_doubt, source.question_due) = (Some("away".to_owned()), true, Instant::now());
    let deadline = Instant::now() + Duration::from_secs(60);
    let poll_while = |source: &mut KafkaSource, so: fn(&KafkaSource) -> bool| {
        while so(source) {
            assert!(Instant::now() < deadline);
            source.poll(limits(), &mut |_| ()).unwrap();
        }
    };
    poll_while(&mut source, |source| source.in_doubt);
    assert_eq!(source.question.broker(), Some(2));
    poll_while(&mut source, |source| source.trouble.is_some());
}
