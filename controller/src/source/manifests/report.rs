//! What the watcher says of files and objects that cannot be used: in the log, in `problems.yaml`, in the status files of the
//! objects, and to the engine, which counts them.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use tracing::{info, warn};
use yusur_planner::ObjectRef;

use super::refusals::INVALID_SPEC;
use super::tell;
use super::watch::{Gone, Watcher};
use crate::source::{self, SourceEvent};

/// What is added to a problem where there is a state to keep.
const KEPT: &str = "; its last good state stays";

impl Watcher {
    /// Says what has become wrong or well.
    pub(super) fn report(&mut self) -> Result<(), Gone> {
        self.refuse();
        let now = self.problems();
        if now == self.told {
            return Ok(());
        }
        // Written down before it is told: who reads of it elsewhere finds it there.
        let list: Vec<Value> = now
            .iter()
            .map(|(subject, problem)| json!({"subject": subject, "reason": problem.reason, "message": problem.message}))
            .collect();
        self.records.problems(&list);
        for (subject, problem) in &now {
            if self.told.get(subject) != Some(problem) {
                let source::Problem { reason, message } = problem;
                warn!(subject, reason, "{message}");
                self.tell_problem(subject, Some(problem.clone()))?;
            }
        }
        for subject in self
            .told
            .keys()
            .filter(|subject| !now.contains_key(*subject))
        {
            info!(subject, "mended");
            self.tell_problem(subject, None)?;
        }
        self.told = now;
        Ok(())
    }

    /// Objects whose manifests are refused are told so in their status files.
    fn refuse(&mut self) {
        let refused = self.ledger.refused();
        let refused = refused.filter(|(_, mistake, _)| mistake.reason == INVALID_SPEC);
        let refused: HashMap<ObjectRef, String> = refused
            .map(|(object, mistake, kept)| {
                let kept = if kept { KEPT } else { "" };
                (object.clone(), format!("{}{kept}", mistake.message))
            })
            .collect();
        if refused != self.refused {
            self.records.refuse(&refused);
            self.refused = refused;
        }
    }

    fn tell_problem(&self, subject: &str, problem: Option<source::Problem>) -> Result<(), Gone> {
        tell(
            &self.sender,
            SourceEvent::Problem {
                subject: subject.to_owned(),
                object: None,
                problem,
            },
        )
    }

    /// All that is wrong, by subject.
    fn problems(&self) -> BTreeMap<String, source::Problem> {
        let mut now = BTreeMap::new();
        for (path, problems) in self.ledger.problems() {
            let file = path
                .strip_prefix(&self.options.directory)
                .unwrap_or(path)
                .display();
            for problem in problems {
                let subject = match &problem.part {
                    Some(part) => format!("{file}: {part}"),
                    None => file.to_string(),
                };
                let kept = if problem.kept { KEPT } else { "" };
                now.insert(
                    subject,
                    source::Problem {
                        reason: problem.mistake.reason,
                        message: format!("{}{kept}", problem.mistake.message),
                    },
                );
            }
        }
        for (path, message) in &self.unreadable {
            let problem = source::Problem {
                reason: "Unreadable",
                message: format!("{message}{KEPT}"),
            };
            now.insert(path.display().to_string(), problem);
        }
        now
    }
}
