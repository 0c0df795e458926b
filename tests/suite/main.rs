//! The promises to users, one file each, run against real servers.

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod full_memory;
#[cfg(test)]
mod loss;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod protocol_model;
#[cfg(test)]
mod proxy_faults;
#[cfg(test)]
mod redis_faults;
#[cfg(test)]
mod secure_redis;
#[cfg(test)]
mod spine;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod support_kit;
#[cfg(test)]
mod tidy;
