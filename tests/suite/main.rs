//! The promises to users, one file each, run against real servers.

/// Makes two tests of each case, a function that takes a `Store`.
#[cfg(test)]
macro_rules! on_both_stores {
    ($($case:ident),+ $(,)?) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $case() {
                super::$case(quota_tests::layers::Store::Memory).await;
            })+
        }
        mod on_redis {
            $(#[tokio::test]
            async fn $case() {
                super::$case(quota_tests::layers::Store::Redis).await;
            })+
        }
    };
}

#[cfg(test)]
mod authentication;
#[cfg(test)]
mod exactness;
#[cfg(test)]
mod forgery;
#[cfg(test)]
mod handle;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod protocol_model;
#[cfg(test)]
mod settling;
#[cfg(test)]
mod spine;
#[cfg(test)]
mod support_kit;
#[cfg(test)]
mod targets;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod windows;
#[cfg(test)]
mod wrapping;
