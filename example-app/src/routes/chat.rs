//! `POST /api/v1/chat`: a message, and an answer that is made up here.

use axum::{
    Json,
    extract::rejection::JsonRejection,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use quota_layer::QuotaHandle;
use serde::{Deserialize, Serialize};

use crate::problem::problem;

const MAX_TOKENS: u32 = 4_000;
const MAX_TOKENS_DEFAULT: u32 = 500;

/// What a user says.
#[derive(Debug, Deserialize)]
pub(crate) struct Question {
    message: String,
    max_tokens: Option<u32>,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Answer {
    content: String,
    usage: Usage,
}

/// What the answer costs, in words: this generator's tokens are words.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    prompt_tokens: usize,
    completion_tokens: u32,
}

/// Answers, and reports the tokens of the answer.
pub(crate) async fn chat(
    quota: Option<QuotaHandle>,
    question: Result<Json<Question>, JsonRejection>,
) -> Response {
    let Json(question) = match question {
        Ok(question) => question,
        Err(rejection) => return problem(rejection.status(), &rejection.body_text()),
    };
    if question.message.trim().is_empty() {
        return problem(StatusCode::UNPROCESSABLE_ENTITY, "The message is empty.");
    }
    let max_tokens = question.max_tokens.unwrap_or(MAX_TOKENS_DEFAULT);
    if !(1..=MAX_TOKENS).contains(&max_tokens) {
        let detail = format!("max_tokens is a number from 1 to {MAX_TOKENS}.");
        return problem(StatusCode::UNPROCESSABLE_ENTITY, &detail);
    }
    let answer = generate(&question.message, max_tokens);
    if let Some(quota) = quota {
        let prompt_tokens = answer.usage.prompt_tokens.try_into().unwrap_or(i64::MAX);
        quota.report("input_tokens", prompt_tokens);
        quota.report("output_tokens", answer.usage.completion_tokens.into());
    }
    Json(answer).into_response()
}

/// The same answer to the same question, one word for each token.
fn generate(message: &str, max_tokens: u32) -> Answer {
    const OPENING: &str = "Thank you for asking. You said:";
    const CLOSING: &str = "That is all a demo can say about it.";
    let words = OPENING
        .split_whitespace()
        .chain(message.split_whitespace())
        .chain(CLOSING.split_whitespace());
    let mut content = String::new();
    let mut completion_tokens = 0;
    for (word, number) in words.zip(1..=max_tokens) {
        if number > 1 {
            content.push(' ');
        }
        content.push_str(word);
        completion_tokens = number;
    }
    Answer {
        content,
        usage: Usage {
            prompt_tokens: message.split_whitespace().count(),
            completion_tokens,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_has_the_same_answer() {
        let answer = generate("hello there", 500);
        assert_eq!(answer, generate("hello there", 500));
        assert_eq!(answer.usage.prompt_tokens, 2);
        assert_eq!(answer.usage.completion_tokens, 17);
        assert_eq!(answer.content.split(' ').count(), 17);
    }

    #[test]
    fn an_answer_stops_at_its_limit() {
        let answer = generate("hello", 3);
        assert_eq!(answer.content, "Thank you for");
        assert_eq!(answer.usage.completion_tokens, 3);
    }
}
