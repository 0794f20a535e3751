//! The services themselves do what the other tests build upon. A failure here is a fault of the workshop, not of the product.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use libtest_mimic::Trial;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::services::{self, Need, Outcome, S3, async_trial, trial, unique};

/// Longest wait for one answer of a service.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        async_trial(
            "services::kafka_returns_in_order_what_was_sent",
            &[Need::Kafka],
            kafka_returns_in_order_what_was_sent,
        ),
        async_trial("services::postgres_keeps_a_row", &[Need::Postgres], postgres_keeps_a_row),
        async_trial(
            "services::postgres_refuses_a_wrong_password",
            &[Need::Postgres],
            postgres_refuses_a_wrong_password,
        ),
        async_trial("services::s3_creates_an_object_once", &[Need::S3], s3_creates_an_object_once),
        async_trial("services::s3_lets_one_of_many_create", &[Need::S3], s3_lets_one_of_many_create),
        async_trial("services::s3_joins_the_parts_of_an_upload", &[Need::S3], s3_joins_the_parts_of_an_upload),
        async_trial("services::s3_refuses_a_wrong_secret", &[Need::S3], s3_refuses_a_wrong_secret),
        trial("services::python_has_the_client_and_the_oracle", &[Need::Python], python_has_the_client_and_the_oracle),
    ]
}

async fn kafka_returns_in_order_what_was_sent() -> Outcome {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", services::kafka()?);
    let topic = unique("services");

    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for created in admin.create_topics(&[NewTopic::new(&topic, 2, TopicReplication::Fixed(1))], &options).await? {
        created.map_err(|(name, code)| format!("cannot create topic {name}: {code}"))?;
    }

    let producer: FutureProducer = config.create()?;
    for number in 0..100_i32 {
        let (key, value) = (number.to_string(), format!("value {number}"));
        let record = FutureRecord::to(&topic)
            .partition(number % 2)
            .key(&key)
            .payload(&value)
            .timestamp(1_000 + i64::from(number));
        let delivery = producer.send(record, PATIENCE).await.map_err(|(error, _)| error)?;
        assert_eq!((delivery.partition, delivery.offset), (number % 2, i64::from(number / 2)));
    }

    let consumer: StreamConsumer =
        config.clone().set("group.id", unique("services")).set("auto.offset.reset", "error").create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..2 {
        assignment.add_partition_offset(&topic, partition, Offset::Offset(0))?;
    }
    consumer.assign(&assignment)?;
    let mut next = [0_i64; 2];
    for _ in 0..100 {
        let message = tokio::time::timeout(PATIENCE, consumer.recv()).await??;
        let partition = usize::try_from(message.partition())?;
        let number = next[partition] * 2 + i64::from(message.partition());
        assert_eq!(message.offset(), next[partition]);
        assert_eq!(message.payload(), Some(format!("value {number}").as_bytes()));
        assert_eq!(message.timestamp().to_millis(), Some(1_000 + number));
        next[partition] += 1;
    }
    assert_eq!(next, [50, 50]);
    Ok(())
}

async fn postgres_keeps_a_row() -> Outcome {
    let (mut client, connection) = tokio_postgres::connect(&services::postgres()?, NoTls).await?;
    let driver = tokio::spawn(connection);
    let schema = unique("services");
    client
        .batch_execute(&format!(
            "CREATE SCHEMA \"{schema}\"; CREATE TABLE \"{schema}\".t (id BIGINT PRIMARY KEY, name TEXT)"
        ))
        .await?;
    let transaction = client.transaction().await?;
    transaction.execute(&format!("INSERT INTO \"{schema}\".t VALUES ($1, $2)"), &[&7_i64, &"Müller"]).await?;
    transaction.commit().await?;
    let row = client.query_one(&format!("SELECT id, name FROM \"{schema}\".t"), &[]).await?;
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (7, "Müller"));
    client.batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE")).await?;
    drop(client);
    driver.await??;
    Ok(())
}

async fn postgres_refuses_a_wrong_password() -> Outcome {
    let mut config: tokio_postgres::Config = services::postgres()?.parse()?;
    config.password("wrong");
    match config.connect(NoTls).await {
        Ok(_) => Err("a wrong password was taken".into()),
        Err(error) => {
            assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD), "{error}");
            Ok(())
        }
    }
}

async fn s3_creates_an_object_once() -> Outcome {
    let store = S3::from_env()?.store()?;
    let key = Path::from(unique("services")).join("manifest");
    store.put_opts(&key, PutPayload::from_static(b"first"), PutMode::Create.into()).await?;
    let second = store.put_opts(&key, PutPayload::from_static(b"second"), PutMode::Create.into()).await;
    assert!(matches!(second, Err(object_store::Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(store.get(&key).await?.bytes().await?, Bytes::from_static(b"first"));
    Ok(())
}

async fn s3_lets_one_of_many_create() -> Outcome {
    const WRITERS: usize = 16;
    const ROUNDS: usize = 20;
    let store = S3::from_env()?.store()?;
    let prefix = Path::from(unique("services"));
    let mut expected = BTreeSet::new();
    for round in 0..ROUNDS {
        let key = prefix.clone().join(format!("{round:020}"));
        let (store, shared) = (&store, &key);
        // Half of the rounds with bodies large enough that the writers overlap while sending.
        let padding = if round % 2 == 0 { 0 } else { 100_000 };
        let answers = join_all((0..WRITERS).map(|writer| async move {
            let body = " ".repeat(padding) + &writer.to_string();
            store.put_opts(shared, body.into(), PutMode::Create.into()).await
        }))
        .await;
        let mut winners = Vec::new();
        for (writer, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(_) => winners.push(writer),
                Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: writers {winners:?} all created the same object");
        let body = store.get(&key).await?.bytes().await?;
        assert_eq!(std::str::from_utf8(&body)?.trim(), winners[0].to_string(), "round {round}");
        expected.insert(key);
        let listed: BTreeSet<Path> = store.list(Some(&prefix)).map_ok(|object| object.location).try_collect().await?;
        assert_eq!(listed, expected, "a created object is in the next listing");
    }
    Ok(())
}

async fn s3_joins_the_parts_of_an_upload() -> Outcome {
    const PART: usize = 5 << 20;
    let store = S3::from_env()?.store()?;
    let prefix = Path::from(unique("services"));
    let key = prefix.clone().join("large.parquet");
    let mut upload = store.put_multipart(&key).await?;
    upload.put_part(Bytes::from(vec![1; PART]).into()).await?;
    upload.put_part(Bytes::from(vec![2; 3]).into()).await?;
    assert_eq!(store.list(Some(&prefix)).count().await, 0, "an upload is not visible before it is complete");
    upload.complete().await?;
    let end = PART as u64;
    assert_eq!(store.head(&key).await?.size, end + 3);
    assert_eq!(store.get_range(&key, end - 1..end + 3).await?, Bytes::from_static(&[1, 2, 2, 2]));
    store.delete(&key).await?;
    assert!(matches!(store.head(&key).await, Err(object_store::Error::NotFound { .. })));
    Ok(())
}

async fn s3_refuses_a_wrong_secret() -> Outcome {
    let stranger = S3 { secret_access_key: "wrong".to_owned(), ..S3::from_env()? }.store()?;
    let answer = stranger.put(&Path::from(unique("services")), PutPayload::from_static(b"x")).await;
    assert!(matches!(answer, Err(object_store::Error::PermissionDenied { .. })), "{answer:?}");
    Ok(())
}

fn python_has_the_client_and_the_oracle() -> Outcome {
    let script =
        "import adbc_driver_flightsql.dbapi, duckdb, pyarrow\nprint(duckdb.sql('SELECT 40 + 2').fetchone()[0])";
    let output = std::process::Command::new(services::python()?).args(["-c", script]).output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "42", "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
