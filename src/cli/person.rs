//! `marquee person`: one person's rights, and a look at what is known of them.

use anyhow::Context as _;
use clap::Subcommand;

use crate::platform::Platform;
use crate::platform::ids::PersonId;
use crate::{events, people, privacy};

#[derive(Debug, Subcommand)]
pub enum PersonCommand {
    /// Profile, consent, computed traits and the last orders and events.
    Show {
        /// per_42, an e-mail address, or external:ID, anonymous:ID.
        person: String,
    },
    /// Everything that is kept about them, as JSON on stdout.
    Export {
        /// per_42, an e-mail address, or external:ID, anonymous:ID.
        person: String,
    },
    /// Erase everything personal. Money and counts stay. Cannot be undone.
    Erase {
        /// per_42, an e-mail address, or external:ID, anonymous:ID.
        person: String,
        /// Do it; without this it only says what would go.
        #[arg(long)]
        yes: bool,
    },
}

pub async fn run(command: PersonCommand, platform: &Platform) -> anyhow::Result<()> {
    match command {
        PersonCommand::Show { person } => show(platform, id_of(platform, &person).await?).await,
        PersonCommand::Export { person } => {
            let file = privacy::export(&platform.db, id_of(platform, &person).await?).await?;
            println!("{}", serde_json::to_string_pretty(&file)?);
            Ok(())
        }
        PersonCommand::Erase { person, yes } => erase(platform, id_of(platform, &person).await?, yes).await,
    }
}

async fn id_of(platform: &Platform, text: &str) -> anyhow::Result<PersonId> {
    if let Ok(id) = text.parse::<PersonId>() {
        return Ok(id);
    }
    let identity = match text.split_once(':') {
        Some(("external", id)) => people::Identity::External(id.to_owned()),
        Some(("anonymous", id)) => people::Identity::Anonymous(id.to_owned()),
        _ => people::Identity::email(text)
            .with_context(|| format!("“{text}” is no person: write per_42, an e-mail address, external:ID or anonymous:ID"))?,
    };
    let person = people::find(&platform.db, &identity).await?;
    Ok(person.with_context(|| format!("nobody goes by “{text}”"))?.id)
}

async fn show(platform: &Platform, id: PersonId) -> anyhow::Result<()> {
    let file = people::export(&platform.db, id).await?;
    println!("{}", serde_json::to_string_pretty(&file)?);
    for order in events::orders::of_person(&platform.db, id, 5).await? {
        println!(
            "{}  order {}  {} {} minor, {} net, {}",
            order.placed_at,
            order.order_ref,
            order.total_minor,
            order.currency,
            order.net_minor(),
            order.status
        );
    }
    for event in events::timeline(&platform.db, id, None, 10).await? {
        println!("{}  {}", event.occurred_at, event.name);
    }
    Ok(())
}

async fn erase(platform: &Platform, id: PersonId, yes: bool) -> anyhow::Result<()> {
    let file = privacy::export(&platform.db, id).await?;
    let (events, orders, names) = (file.events.len(), file.orders.len(), file.profile.identities.len());
    if !yes {
        println!(
            "{id}: the profile, {names} names, the details of {events} events and the name on {orders} orders would be erased. --yes does it."
        );
        return Ok(());
    }
    privacy::erase(platform, id).await?;
    println!("{id} is erased: {names} names dropped, {events} events blanked, {orders} orders kept without a name.");
    Ok(())
}
