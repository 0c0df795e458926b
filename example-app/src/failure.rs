//! Why the process ends.

use std::{fmt, process::ExitCode};

use quota_layer::{ConfigErrors, StartError};

/// Why the process can't do what it was asked for.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// It was used in a wrong way, or the configuration is wrong.
    Use,
    /// It should work and does not.
    Start,
}

impl Failure {
    /// It was used in a wrong way, or the configuration is wrong.
    #[must_use]
    pub fn wrong_use(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Use,
            message: message.into(),
        }
    }

    /// It should have started and did not.
    #[must_use]
    pub fn start(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Start,
            message: message.into(),
        }
    }

    /// 2 for a wrong use, else 1.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self.kind {
            Kind::Use => ExitCode::from(2),
            Kind::Start => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::wrong_use(format!("the configuration is wrong\n\n{errors}"))
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(errors) => errors.into(),
            error @ (StartError::Identity(_) | StartError::MissingFeature { .. }) => {
                Self::wrong_use(error.to_string())
            }
            error => Self::start(error.to_string()),
        }
    }
}
