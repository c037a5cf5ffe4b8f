//! The introspection data, from the tables of `interface.rs`. The same text is installed as
//! /usr/share/dbus-1/interfaces/io.iobio.Stealthcheck1.xml. Pure.

use std::fmt::Write as _;

use super::interface::{CHECK_PROPERTIES, Emits, MANAGER_PROPERTIES, METHODS, Property, SIGNALS};
use super::objects::{CHECKS, name_of};
use super::{CHECK, MANAGER, PATH};
use crate::check::CheckName;
use crate::text::bus_label;

const DOCTYPE: &str = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n \
                       \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n";

/// What every object has.
const STANDARD: &str = r#" <interface name="org.freedesktop.DBus.Peer">
  <method name="Ping"/>
  <method name="GetMachineId">
   <arg type="s" name="machine_uuid" direction="out"/>
  </method>
 </interface>
 <interface name="org.freedesktop.DBus.Introspectable">
  <method name="Introspect">
   <arg name="xml_data" type="s" direction="out"/>
  </method>
 </interface>
 <interface name="org.freedesktop.DBus.Properties">
  <method name="Get">
   <arg name="interface_name" direction="in" type="s"/>
   <arg name="property_name" direction="in" type="s"/>
   <arg name="value" direction="out" type="v"/>
  </method>
  <method name="GetAll">
   <arg name="interface_name" direction="in" type="s"/>
   <arg name="props" direction="out" type="a{sv}"/>
  </method>
  <method name="Set">
   <arg name="interface_name" direction="in" type="s"/>
   <arg name="property_name" direction="in" type="s"/>
   <arg name="value" direction="in" type="v"/>
  </method>
  <signal name="PropertiesChanged">
   <arg type="s" name="interface_name"/>
   <arg type="a{sv}" name="changed_properties"/>
   <arg type="as" name="invalidated_properties"/>
  </signal>
 </interface>
"#;

/// Both interfaces, as they are installed.
#[must_use]
pub fn installed() -> String {
    format!("{DOCTYPE}<node>\n{}{}</node>\n", manager(), check())
}

/// The data of the object at a path; `None`: there is none. `checks`: for the object above those of the checks.
pub(super) fn of(path: &str, checks: &[CheckName]) -> Option<String> {
    let child = |name: &str| format!(" <node name=\"{name}\"/>\n");
    let inside = match path {
        PATH => format!("{STANDARD}{}{}", manager(), child("check")),
        CHECKS => checks.iter().map(|check| child(&bus_label(check.as_str()))).collect(),
        _ if name_of(path).is_some() => format!("{STANDARD}{}", check()),
        // What leads to ours.
        _ => {
            let parent = if path == "/" { "/".to_owned() } else { format!("{path}/") };
            let rest = PATH.strip_prefix(&parent)?;
            child(rest.split('/').next()?)
        }
    };
    Some(format!("{DOCTYPE}<node>\n{inside}</node>\n"))
}

fn manager() -> String {
    let mut text = format!(" <interface name=\"{MANAGER}\">\n");
    for method in METHODS {
        let inputs = arguments(method.inputs.iter().zip((method.input_types)()), " direction=\"in\"");
        let outputs = arguments(method.outputs.iter().zip((method.output_types)()), " direction=\"out\"");
        let _ = writeln!(text, "  <method name=\"{}\">\n{inputs}{outputs}  </method>", method.name);
    }
    for (name, arguments) in SIGNALS {
        let inside = self::arguments(arguments.iter().map(|(name, kind)| (name, kind)), "");
        let _ = writeln!(text, "  <signal name=\"{name}\">\n{inside}  </signal>");
    }
    text + &properties(MANAGER_PROPERTIES) + " </interface>\n"
}

/// Arguments by name and type.
fn arguments<'a>(
    arguments: impl Iterator<Item = (&'a &'static str, impl std::fmt::Display)>,
    direction: &str,
) -> String {
    arguments.map(|(name, kind)| format!("   <arg type=\"{kind}\" name=\"{name}\"{direction}/>\n")).collect()
}

fn check() -> String {
    format!(" <interface name=\"{CHECK}\">\n{} </interface>\n", properties(CHECK_PROPERTIES))
}

fn properties(properties: &[Property]) -> String {
    let each = properties.iter().map(|(name, kind, emits)| {
        let emits = match emits {
            Emits::True => "true",
            Emits::False => "false",
            Emits::Const => "const",
        };
        format!(
            "  <property name=\"{name}\" type=\"{kind}\" access=\"read\">\n   <annotation \
             name=\"org.freedesktop.DBus.Property.EmitsChangedSignal\" value=\"{emits}\"/>\n  </property>\n"
        )
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::interface::Action;

    /// `STEALTHCHECK_BLESS=1 cargo test --lib installed` writes the file.
    #[test]
    fn the_installed_file_is_what_objects_answer() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/io.iobio.Stealthcheck1.xml");
        if std::env::var_os("STEALTHCHECK_BLESS").is_some() {
            std::fs::write(path, installed()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), installed());
    }

    #[test]
    fn polkit_knows_every_action_and_no_other() {
        let policy = include_str!("../../packaging/io.iobio.Stealthcheck1.policy");
        let known: Vec<&str> = policy
            .lines()
            .filter_map(|line| line.trim().strip_prefix("<action id=\"")?.strip_suffix("\">"))
            .collect();
        assert_eq!(known, Action::ALL.map(Action::id));
    }

    #[test]
    fn the_man_page_has_every_method_property_and_signal() {
        let page = include_str!("../../packaging/man/io.iobio.Stealthcheck1.5");
        let methods = METHODS.iter().map(|method| method.name);
        let properties = MANAGER_PROPERTIES.iter().chain(CHECK_PROPERTIES).map(|(name, ..)| *name);
        let signals = SIGNALS.iter().map(|(name, _)| *name);
        for name in methods.chain(properties).chain(signals) {
            assert!(page.contains(name), "{name} is not in the man page");
        }
        for action in Action::ALL {
            assert!(page.contains(action.id()), "{} is not in the man page", action.id());
        }
    }
}
