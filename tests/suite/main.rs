//! The promises to users, one module for each, run against real servers.

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

// A test binary is always built with `cfg(test)`; said of a module, it lets its helper functions
// unwrap like the tests themselves.
#[cfg(test)]
mod administration;
#[cfg(test)]
mod authentication;
#[cfg(test)]
mod clusters;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod exactness;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod forgery;
#[cfg(test)]
mod full_memory;
#[cfg(test)]
mod handle;
#[cfg(test)]
mod ledgers;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod loss;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod outbox;
#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod protocol_model;
#[cfg(test)]
mod proxy_faults;
#[cfg(test)]
mod recording;
#[cfg(test)]
mod redis_faults;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod secure_redis;
#[cfg(test)]
mod seeding;
#[cfg(test)]
mod settling;
#[cfg(test)]
mod spine;
#[cfg(test)]
mod stores;
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
