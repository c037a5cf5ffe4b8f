//! stealthcheck
