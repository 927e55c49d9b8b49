//! Roles and what each may do: the one table that pages are guarded by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a user is to the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, also users, keys and settings.
    Admin,
    /// Plans and sends; knows the people.
    Marketer,
    /// Reads figures and reports; never an address.
    Analyst,
}

/// What a page or an action asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// See campaigns, segments, products, creatives, reports and jobs: numbers and names of things, no addresses.
    See,
    /// See people: addresses, profiles, timelines, the choice made for somebody.
    SeePeople,
    /// Make and change campaigns, segments, creatives, products; import; run jobs.
    Plan,
    /// Change how the shop is wired: sender, caps, placements, integrations.
    Configure,
    /// Users, roles, keys, the audit log.
    Administer,
}

impl Permission {
    pub const ALL: [Permission; 5] =
        [Permission::See, Permission::SeePeople, Permission::Plan, Permission::Configure, Permission::Administer];
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Admin, Role::Marketer, Role::Analyst];

    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Marketer => "marketer",
            Self::Analyst => "analyst",
        }
    }

    /// The table of roles and permissions.
    pub fn may(self, permission: Permission) -> bool {
        use Permission as P;
        match self {
            Self::Admin => true,
            Self::Marketer => matches!(permission, P::See | P::SeePeople | P::Plan),
            Self::Analyst => matches!(permission, P::See),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("“{0}” is not a role: use admin, marketer or analyst")]
pub struct RoleError(String);

impl FromStr for Role {
    type Err = RoleError;
    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|r| r.name() == text).ok_or_else(|| RoleError(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_analyst_never_sees_people_and_only_admins_administer() {
        assert!(Permission::ALL.into_iter().all(|p| Role::Admin.may(p)));
        assert!(!Role::Analyst.may(Permission::SeePeople) && !Role::Analyst.may(Permission::Plan));
        assert!(!Role::Marketer.may(Permission::Administer) && !Role::Marketer.may(Permission::Configure));
        for role in Role::ALL {
            assert_eq!(role.name().parse::<Role>().expect("role"), role);
        }
    }
}
