//! After a flipped bit: `sabir repair --yes`, and then everything that it does not name as lost
//! must be there, from a broker that starts and a directory that is intact.

use std::path::Path;

use anyhow::{Context, Result};

use super::bitflip::Bitflip;
use super::broker::{Launch, Start};
use super::history::{History, Rule, Violation};
use super::process::call;

impl Bitflip<'_> {
    /// Repairs the directory, and reads what is left of it. Another broker is not repaired.
    pub(super) fn mend(&self, data: &Path, history: &History) -> Result<Vec<Violation>> {
        let Launch::Sabir { binary, .. } = &self.berth.launch else { return Ok(Vec::new()) };
        let broken = |rule, about: String| Ok(vec![Violation::new(rule, about)]);
        let words = ["repair", "--yes", "--json"].map(AsRef::as_ref);
        let command = [binary.as_os_str()].into_iter().chain(words).chain([data.as_os_str()]);
        let said = match call(command) {
            Ok(said) => said,
            Err(error) => return broken(Rule::Damaged, format!("it is not repaired: {error}")),
        };
        let lost = lost(&said).with_context(|| format!("the report of the repair: {said}"))?;
        if let Err(error) = call([binary.as_os_str(), "inspect".as_ref(), data.as_os_str()]) {
            return broken(Rule::Damaged, format!("not intact after the repair: {error}"));
        }
        let mut broker = self.berth.start(data)?;
        match broker.wait_ready()? {
            Start::Ready(_) => (),
            other => {
                let about = format!("it does not start after the repair: {other:?}");
                return broken(Rule::NoRestart, about);
            }
        }
        let output = self.logs.join("verify.out");
        let arguments = ["--tolerant", "--patience", "1.5"];
        let mut reading = match self.clients.verify(&self.berth, &output, &arguments)? {
            Ok(reading) => reading,
            Err(reason) => {
                let about = format!("after the repair it cannot be read: {reason}");
                return broken(Rule::NoRestart, about);
            }
        };
        broker.kill()?;
        if let Some(((topic, partition), from, to)) = reading.refused.first() {
            let about =
                format!("after the repair {from} to {to} of {topic}/{partition} is refused");
            return broken(Rule::Damaged, about);
        }
        reading.refused = lost;
        let mut violations = history.clone().check(&reading);
        for violation in &mut violations {
            violation.about = format!("after the repair: {}", violation.about);
        }
        Ok(violations)
    }
}

/// Topic, partition, first lost offset and the one behind the last.
type Lost = ((String, u32), i64, i64);

/// What the report names as lost.
fn lost(said: &str) -> Result<Vec<Lost>> {
    // Log lines may stand around it.
    let begin = said.find("{\n").context("no report")?;
    let mut reports = serde_json::Deserializer::from_str(&said[begin..]).into_iter();
    let report: serde_json::Value = reports.next().context("no report")??;
    let all = report["lost"].as_array().context("what is lost")?.iter();
    all.map(|lost| {
        let number = |name: &str| lost[name].as_i64().with_context(|| format!("no {name}"));
        let topic = lost["topic"].as_str().context("no topic")?.to_owned();
        let partition = u32::try_from(number("partition")?)?;
        Ok(((topic, partition), number("from")?, number("to")?))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_report_is_found_and_read() {
        let said =
            "{\n \"lost\": [{\"topic\": \"a\", \"partition\": 1, \"from\": 2, \"to\": 5}]}\nx";
        let found = super::lost(said).expect("a report");
        assert_eq!(found, [(("a".to_owned(), 1), 2, 5)]);
        assert!(super::lost("nothing").is_err());
    }
}
