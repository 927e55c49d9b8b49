//! `marquee user`: who may sign in.

use clap::Subcommand;

use crate::account::{Accounts, LinkPurpose, NewAudit, NewUser, Role, audit};
use crate::platform::Platform;

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Print the one-time link that makes the first admin.
    SetUp,
    /// Invite somebody: prints the link with which they choose a password.
    Add {
        email: String,
        #[arg(long)]
        name: String,
        /// admin, marketer, analyst.
        #[arg(long)]
        role: Role,
    },
    List,
    /// Print a link with which a user chooses a new password.
    Reset {
        email: String,
        /// Also take their authenticator away (they lost it).
        #[arg(long)]
        without_code: bool,
    },
    /// Change a role.
    Role {
        email: String,
        role: Role,
    },
    /// Lock a user out (their sessions end at once), or let them in again.
    Disable {
        email: String,
        /// Let them in again.
        #[arg(long)]
        undo: bool,
    },
}

pub async fn run(command: UserCommand, platform: &Platform) -> anyhow::Result<()> {
    let accounts = Accounts::new(platform.clone())?;
    match command {
        UserCommand::SetUp => match accounts.set_up_link().await? {
            Some(link) => println!("{link}"),
            None => anyhow::bail!("there are users already; `marquee user add` invites another"),
        },
        UserCommand::Add { email, name, role } => {
            let id = accounts.create(NewUser { email: email.clone(), name, role }, None).await?;
            log(platform, "user.invite", &email, role.name()).await?;
            println!("{}", accounts.link(id, LinkPurpose::Invite).await?);
        }
        UserCommand::List => {
            for user in accounts.list().await? {
                let state = match (user.disabled, user.has_password) {
                    (true, _) => "disabled",
                    (_, false) => "invited",
                    _ => "active",
                };
                let seen = user.last_seen_at.map_or_else(|| "never".to_owned(), |t| t.to_string());
                println!("{:<36} {:<10} {:<9} {:<24} {seen}", user.email, user.role.name(), state, user.name);
            }
        }
        UserCommand::Reset { email, without_code } => {
            let user = accounts.by_email(&email).await?;
            if without_code {
                accounts.drop_totp(user.id).await?;
            }
            log(platform, "user.reset", &user.email, if without_code { "authenticator taken away" } else { "" }).await?;
            println!("{}", accounts.link(user.id, LinkPurpose::Reset).await?);
        }
        UserCommand::Role { email, role } => {
            let user = accounts.by_email(&email).await?;
            accounts.set_role(user.id, role).await?;
            log(platform, "user.role", &user.email, &format!("{} → {role}", user.role)).await?;
            println!("{} is now {role}", user.email);
        }
        UserCommand::Disable { email, undo } => {
            let user = accounts.by_email(&email).await?;
            accounts.set_disabled(user.id, !undo).await?;
            log(platform, if undo { "user.enable" } else { "user.disable" }, &user.email, "").await?;
            println!("{} {}", user.email, if undo { "may sign in again" } else { "can no longer sign in" });
        }
    }
    Ok(())
}

async fn log(platform: &Platform, action: &str, subject: &str, detail: &str) -> anyhow::Result<()> {
    let entry = NewAudit {
        actor: "command line".into(),
        action: action.into(),
        subject: subject.into(),
        detail: detail.into(),
        ..NewAudit::default()
    };
    let mut tx = platform.db.begin().await?;
    audit::write(&mut tx, &entry, platform.now()).await?;
    Ok(tx.commit().await?)
}
