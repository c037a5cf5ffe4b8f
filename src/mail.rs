//! mail
pub mod evidence;
pub mod text;
