//! What the sandbox's services share: the account, the faults asked for, and what has been judged so far.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use crate::aws::account::Account;
use crate::aws::sts;
use crate::aws::sts::Call;
use crate::aws::sts::SESSION_TOKEN_CHARS;
use crate::aws::sts::StsError;
use crate::clock;
use crate::faults::Faults;
use crate::judge;
use crate::judge::Database;
use crate::judge::Verdict;

/// Verdicts and STS calls are kept up to this many, then the oldest go.
const RECORDS_MAX: usize = 10_000;

/// Shared by the HTTP services, the judge and the relay.
#[derive(Debug)]
pub struct World {
    /// The emulated account.
    pub account: Account,
    faults: Mutex<Faults>,
    /// The same, for those who wait for a change.
    published: watch::Sender<Faults>,
    cuts: watch::Sender<u64>,
    verdicts: Mutex<VecDeque<Verdict>>,
    sts_calls: Mutex<VecDeque<StsCall>>,
    tokens: Mutex<VecDeque<String>>,
}

/// One call to STS, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StsCall {
    /// Unix seconds.
    pub at: i64,
    /// `AssumeRoleWithWebIdentity`...
    pub action: String,
    /// `RoleArn`, where there is one.
    pub role_arn: Option<String>,
    /// `RoleSessionName`, where there is one.
    pub session: Option<String>,
    /// `ok`, or STS's error code.
    pub outcome: String,
    /// STS's sentence, when it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl World {
    /// A world in which nothing has happened yet.
    pub fn new(account: Account) -> Self {
        Self {
            account,
            faults: Mutex::default(),
            published: watch::Sender::new(Faults::default()),
            cuts: watch::Sender::new(0),
            verdicts: Mutex::default(),
            sts_calls: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// What goes wrong at present.
    pub fn faults(&self) -> Faults {
        self.faults.lock().clone()
    }

    /// Changes what goes wrong.
    pub fn change_faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        let mut faults = self.faults.lock();
        let result = change(&mut faults);
        self.published.send_replace(faults.clone());
        result
    }

    /// Follows the faults.
    pub(crate) fn watch_faults(&self) -> watch::Receiver<Faults> {
        self.published.subscribe()
    }

    /// Resets every connection that goes through the relay.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(crate) fn watch_cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }

    /// Judges one login to `database`.
    pub(crate) fn judge(&self, database: &Database, user: &str, token: &str) -> bool {
        let now = clock::now();
        let verdict = match self.faults().login {
            Some(fault) => judge::fail(fault, user, now),
            None => judge::judge(&self.account, database, user, token, now),
        };
        match &verdict.reason {
            None => tracing::info!(user, "login accepted"),
            Some(reason) => tracing::info!(user, reason, "login refused"),
        }
        remember(&self.tokens, token.to_owned());
        let accepted = verdict.accepted;
        remember(&self.verdicts, verdict);
        accepted
    }

    /// What the judge said, oldest first.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.verdicts.lock().iter().cloned().collect()
    }

    /// The RDS tokens themselves that were judged: for tests that look for them where they must not be.
    pub fn tokens(&self) -> Vec<String> {
        self.tokens.lock().iter().cloned().collect()
    }

    /// Answers one call to STS.
    pub(crate) fn sts(&self, call: &Call) -> Result<String, StsError> {
        let fault = self.change_faults(|faults| faults.next_sts_error(self.account.issuer.url()));
        let token_chars = self
            .faults()
            .session_token_chars
            .unwrap_or(SESSION_TOKEN_CHARS);
        let now = clock::now();
        let answer = match fault {
            Some(error) => Err(error),
            None => sts::answer(&self.account, call, token_chars, now),
        };
        let parameter = |name: &str| call.parameters.get(name).cloned();
        let record = StsCall {
            at: now,
            action: parameter("Action").unwrap_or_default(),
            role_arn: parameter("RoleArn"),
            session: parameter("RoleSessionName"),
            outcome: answer
                .as_ref()
                .err()
                .map_or("ok".to_owned(), |error| error.code.clone()),
            message: answer.as_ref().err().map(|error| error.message.clone()),
        };
        tracing::info!(
            action = record.action,
            role = record.role_arn,
            outcome = record.outcome,
            "sts call"
        );
        remember(&self.sts_calls, record);
        answer
    }

    /// What was asked of STS, oldest first.
    pub fn sts_calls(&self) -> Vec<StsCall> {
        self.sts_calls.lock().iter().cloned().collect()
    }

    /// Forgets verdicts and STS calls.
    pub fn forget_records(&self) {
        self.verdicts.lock().clear();
        self.sts_calls.lock().clear();
    }
}

fn remember<T>(records: &Mutex<VecDeque<T>>, record: T) {
    let mut records = records.lock();
    if records.len() == RECORDS_MAX {
        records.pop_front();
    }
    records.push_back(record);
}
