//! OpenPGP signatures of archives: which are accepted, and in which words the others are refused.
//!
//! The library does the mathematics; the policy is here. The time is handed in. Nothing in this module knows
//! what the signed text means.

use std::fmt;

use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, PublicParams, Tag};
use rsa_bits::rsa_bits;

use super::{armor, date};
use crate::error::{Context, Error, Kind, Result};

/// The keys of Debian's archives, from bullseye to forky; `keyrings/README.md` says whence.
static DEBIAN: &[u8] = include_bytes!("keyrings/debian-archive.pgp");

/// Limits on what is looked at.
const MOST_SIGNATURES: usize = 32;
const MOST_KEYS: usize = 256;
const LARGEST_SIGNATURES: usize = 1 << 20;
const LARGEST_KEYRING: usize = 8 << 20;
/// A signature may be this much younger than our clock says, in seconds.
const CLOCKS_DIFFER: u64 = 24 * 3600;

/// Keys that are trusted to sign one origin.
#[derive(Clone, Debug)]
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

/// Under what circumstances a signature is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The time at which keys and signatures must not have expired, in seconds since 1970.
    pub now: u64,
    /// Accept SHA-1 and RSA keys of 1024 bits and more: an exception, which the definition states.
    pub allow_weak: bool,
}

/// Text whose signature is good.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Exactly what was signed, with LF as line ends.
    pub text: String,
    /// The keys (primary or subkey) whose signatures are good: upper-case hexadecimal, sorted.
    pub fingerprints: Vec<String>,
}

/// Why one signature was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    Missing,
    /// By a key that is not in the keyring; its id or fingerprint.
    UnknownKey(String),
    /// It does not match the text.
    Bad { key: String },
    /// The key expired at that time.
    ExpiredKey { key: String, at: u64 },
    /// The key's owner revoked it, and said why.
    RevokedKey { key: String, why: String },
    /// Made with a hash that can be forged.
    WeakHash { key: String, hash: String },
    /// Made with a key that can be broken.
    WeakKey { key: String, what: String },
    /// The signature itself was to hold until that time only.
    ExpiredSignature { key: String, at: u64 },
    /// Made later than now.
    FromTheFuture { key: String, at: u64 },
    /// The key is not meant for signing, or its link to its primary key is not in order.
    NotForSigning { key: String, why: &'static str },
    /// Of a kind or version that signs no text.
    Unsupported { key: String, what: String },
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(out, "it is not signed"),
            Self::UnknownKey(key) => write!(out, "signed by the unknown key {key}"),
            Self::Bad { key } => write!(out, "bad signature by the key {key}: the text is not what was signed"),
            Self::ExpiredKey { key, at } => {
                write!(out, "signed by the key {key}, which expired on {}", date::display(*at))
            }
            Self::RevokedKey { key, why } if why.is_empty() => write!(out, "signed by the revoked key {key}"),
            Self::RevokedKey { key, why } => write!(out, "signed by the key {key}, revoked because `{why}`"),
            Self::WeakHash { key, hash } => {
                write!(out, "the signature by the key {key} rests on the weak hash {hash}")
            }
            Self::WeakKey { key, what } => write!(out, "signed by the key {key}, which is too weak: {what}"),
            Self::ExpiredSignature { key, at } => {
                write!(out, "the signature by the key {key} expired on {}", date::display(*at))
            }
            Self::FromTheFuture { key, at } => {
                write!(out, "the signature by the key {key} is from the future: {}", date::display(*at))
            }
            Self::NotForSigning { key, why } => write!(out, "signed by the key {key}, which may not sign: {why}"),
            Self::Unsupported { key, what } => write!(out, "the signature by the key {key} is not usable: {what}"),
        }
    }
}

impl Keyring {
    /// The shipped keys of Debian's archives.
    pub fn debian() -> Result<Self> {
        Self::from_bytes(DEBIAN).context(|| "reading the shipped keys of Debian's archives")
    }

    /// Reads public keys, ASCII-armoured or binary (RFC 9580, 10.1). There must be at least one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > LARGEST_KEYRING {
            return Err(Error::new(format!("a keyring of {} bytes is not read", bytes.len())));
        }
        let mut certificates = Vec::new();
        if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
            collect(SignedPublicKey::from_bytes_many(bytes)?, &mut certificates)?;
        } else {
            // Several armoured blocks may follow each other.
            let text = std::str::from_utf8(bytes).context(|| "the keyring is neither OpenPGP nor text")?;
            for block in text.split_inclusive("-----END PGP PUBLIC KEY BLOCK-----") {
                if let Some(start) = block.find("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
                    let plain = armor::decode(&block[start..], "PUBLIC KEY BLOCK")?;
                    collect(SignedPublicKey::from_bytes_many(&plain[..])?, &mut certificates)?;
                }
            }
        }
        if certificates.is_empty() {
            return Err(Error::new("the keyring holds no public key")
                .hint("a file as written by `gpg --armor --export KEY` is expected"));
        }
        Ok(Self { certificates })
    }

    /// The primary keys' fingerprints, in the order of the keyring.
    pub fn fingerprints(&self) -> Vec<String> {
        self.certificates.iter().map(|certificate| fingerprint(&certificate.primary_key)).collect()
    }

    /// Verifies a cleartext-signed file, such as `InRelease` (RFC 9580, 7).
    pub fn verify_cleartext(&self, bytes: &[u8], policy: &Policy) -> Result<Verified> {
        let (text, armor) = split_cleartext(bytes)?;
        // What is signed ends its lines with CR and LF, the last one excepted.
        let signed = text.strip_suffix('\n').unwrap_or(&text).replace('\n', "\r\n");
        let signatures = read_signatures(armor.as_bytes())?;
        self.verify(text, signed.as_bytes(), &signatures, SignatureType::Text, policy)
    }

    /// Verifies a file with a signature beside it, such as `Release` and `Release.gpg`.
    pub fn verify_detached(&self, bytes: &[u8], signature: &[u8], policy: &Policy) -> Result<Verified> {
        let text = std::str::from_utf8(bytes).map_err(|_| corrupt("the signed file is not UTF-8"))?;
        if text.contains('\r') {
            return Err(corrupt("the signed file holds carriage returns"));
        }
        let signatures = read_signatures(signature)?;
        self.verify(text.to_owned(), bytes, &signatures, SignatureType::Binary, policy)
    }

    fn verify(
        &self,
        text: String,
        signed: &[u8],
        signatures: &[Signature],
        kind: SignatureType,
        policy: &Policy,
    ) -> Result<Verified> {
        let mut fingerprints = Vec::new();
        let mut reasons = Vec::new();
        for signature in signatures {
            match self.check(signed, signature, kind, policy) {
                Ok(fingerprint) => fingerprints.push(fingerprint),
                Err(reason) => reasons.push(reason),
            }
        }
        if fingerprints.is_empty() {
            return Err(refused(reasons));
        }
        fingerprints.sort();
        fingerprints.dedup();
        Ok(Verified { text, fingerprints })
    }

    /// Judges one signature: the fingerprint of the key that made it, or why it does not count.
    fn check(
        &self,
        signed: &[u8],
        signature: &Signature,
        kind: SignatureType,
        policy: &Policy,
    ) -> Result<String, Reason> {
        let mut unknown = Reason::UnknownKey(issuer(signature));
        for certificate in &self.certificates {
            let primary = &certificate.primary_key;
            if issued_by(signature, primary) {
                let key = fingerprint(primary);
                usable(signature, &key, kind, policy)?;
                strong_key(primary.public_params(), &key, policy)?;
                // First whether it is genuine at all: only then is its key worth a word.
                signature.verify(primary, signed).map_err(|_| Reason::Bad { key: key.clone() })?;
                check_primary(certificate, policy, true)?;
                return Ok(key);
            }
            for subkey in &certificate.public_subkeys {
                if issued_by(signature, &subkey.key) {
                    let key = fingerprint(&subkey.key);
                    usable(signature, &key, kind, policy)?;
                    strong_key(subkey.key.public_params(), &key, policy)?;
                    signature.verify(&subkey.key, signed).map_err(|_| Reason::Bad { key: key.clone() })?;
                    // The same subkey may hang on another certificate properly.
                    match check_primary(certificate, policy, false)
                        .and_then(|()| check_subkey(certificate, subkey, policy))
                    {
                        Ok(()) => return Ok(key),
                        Err(reason) => unknown = reason,
                    }
                }
            }
        }
        Err(unknown)
    }
}

fn collect(
    parsed: impl Iterator<Item = pgp::errors::Result<SignedPublicKey>>,
    certificates: &mut Vec<SignedPublicKey>,
) -> Result<()> {
    for certificate in parsed {
        if certificates.len() >= MOST_KEYS {
            return Err(Error::new(format!("the keyring holds more than {MOST_KEYS} keys")));
        }
        certificates.push(certificate.context(|| "reading a key of the keyring")?);
    }
    Ok(())
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(message).kind(Kind::Corrupt)
}

fn refused(mut reasons: Vec<Reason>) -> Error {
    if reasons.is_empty() {
        reasons.push(Reason::Missing);
    }
    let unknown = reasons.iter().all(|reason| matches!(reason, Reason::UnknownKey(_)));
    let weak = reasons.iter().any(|reason| matches!(reason, Reason::WeakHash { .. } | Reason::WeakKey { .. }));
    let error = reasons
        .into_iter()
        .fold(corrupt("no good signature"), |error, reason| error.caused_by(Error::new(reason.to_string())));
    if unknown {
        error.hint("if the key is to be trusted, name its file as `key` of the source in the definition")
    } else if weak {
        error.hint("ask the archive's owner for a modern signature, or allow the weak one in the definition")
    } else {
        error
    }
}

/// The text (LF line ends, dashes unescaped) and the armoured signatures of a cleartext-signed file
/// (RFC 9580, 7.1 and 7.2). Anything before, between or after these two is refused, so is everything that
/// two readers might understand differently.
fn split_cleartext(bytes: &[u8]) -> Result<(String, String)> {
    const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
    const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
    const END: &str = "-----END PGP SIGNATURE-----";
    let whole = std::str::from_utf8(bytes).map_err(|_| corrupt("the signed file is not UTF-8"))?;
    if whole.contains('\0') {
        return Err(corrupt("the signed file holds a zero byte"));
    }
    let mut lines = whole.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    if lines.next().is_none_or(|line| line.trim_end() != BEGIN) {
        return Err(refused(Vec::new()));
    }
    for line in lines.by_ref() {
        if line.is_empty() {
            break;
        }
        if !line.starts_with("Hash: ") {
            return Err(corrupt("the signed file has a header before its text that is not `Hash`"));
        }
    }
    let mut text = String::with_capacity(whole.len());
    let mut found = false;
    for line in lines.by_ref() {
        if line.trim_end() == SIGNATURE {
            found = true;
            break;
        }
        let line = match line.strip_prefix("- ") {
            Some(unescaped) => unescaped,
            None if line.starts_with('-') => return Err(corrupt("the signed text holds an unescaped dash line")),
            None => line,
        };
        // White space at the ends of lines is not signed, so it is not there.
        let line = line.trim_end_matches([' ', '\t']);
        if line.contains('\r') {
            return Err(corrupt("the signed text holds a carriage return within a line"));
        }
        text.push_str(line);
        text.push('\n');
    }
    if !found {
        return Err(corrupt("the signed file is cut off: its signature is not there"));
    }
    let mut armor = format!("{SIGNATURE}\n");
    for line in lines.by_ref() {
        armor.push_str(line);
        armor.push('\n');
        if line.trim_end() == END {
            return match lines.all(|line| line.trim().is_empty()) {
                true => Ok((text, armor)),
                false => Err(corrupt("the signed file has text after its signature, which nobody signed")),
            };
        }
    }
    Err(corrupt("the signed file is cut off within its signature"))
}

/// The signature packets of a binary or armoured signature.
fn read_signatures(bytes: &[u8]) -> Result<Vec<Signature>> {
    let mut plain = Vec::new();
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        plain.extend_from_slice(&bytes[..bytes.len().min(LARGEST_SIGNATURES)]);
    } else {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= 2 * LARGEST_SIGNATURES);
        let text = text.ok_or_else(|| corrupt("the signature is not OpenPGP's, or too long"))?;
        plain =
            armor::decode(text, "SIGNATURE").map_err(|error| corrupt("the signature is damaged").caused_by(error))?;
    }
    let mut signatures = Vec::new();
    for packet in PacketParser::new(&plain[..]) {
        match packet {
            Ok(Packet::Signature(signature)) => signatures.push(signature),
            Ok(packet) if pgp::packet::PacketTrait::tag(&packet) == Tag::Marker => {}
            Ok(_) => return Err(corrupt("the signature holds something else than signatures")),
            Err(error) => return Err(corrupt("the signature is damaged").caused_by(error)),
        }
        if signatures.len() > MOST_SIGNATURES {
            return Err(corrupt(format!("more than {MOST_SIGNATURES} signatures")));
        }
    }
    Ok(signatures)
}

fn fingerprint(key: &impl KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

/// Whom a signature says it is by. It says so outside what it signs: a hint for finding the key.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|fingerprint| format!("{fingerprint:X}"));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string().to_uppercase());
    fingerprint.or_else(id).unwrap_or_else(|| "of no name".to_owned())
}

fn issued_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        return signature.issuer_key_id().contains(&&key.legacy_key_id());
    }
    fingerprints.contains(&&key.fingerprint())
}

/// Checks what a signature says of itself.
fn usable(signature: &Signature, key: &str, kind: SignatureType, policy: &Policy) -> Result<(), Reason> {
    let key = || key.to_owned();
    let unsupported = |what: &str| Reason::Unsupported { key: key(), what: what.to_owned() };
    if signature.typ() != Some(kind) {
        return Err(unsupported("it is not of the kind that signs a file"));
    }
    strong_hash(signature, &key(), policy)?;
    if has_unknown_critical(signature) {
        return Err(unsupported("it has a critical part that this kiln does not know"));
    }
    let made = signature.created().ok_or_else(|| unsupported("it does not say when it was made"))?;
    let made = u64::from(made.as_secs());
    if made > policy.now.saturating_add(CLOCKS_DIFFER) {
        return Err(Reason::FromTheFuture { key: key(), at: made });
    }
    match signature.signature_expiration_time().map(|life| u64::from(life.as_secs())) {
        Some(life) if life > 0 && made + life <= policy.now => {
            Err(Reason::ExpiredSignature { key: key(), at: made + life })
        }
        _ => Ok(()),
    }
}

/// A part that is critical must be understood or the signature is worth nothing (RFC 9580, 5.2.3.7).
fn has_unknown_critical(signature: &Signature) -> bool {
    signature.config().is_none_or(|config| {
        config.hashed_subpackets().any(|part| {
            part.is_critical
                && matches!(
                    part.data,
                    SubpacketData::Other(..) | SubpacketData::Experimental(..) | SubpacketData::Notation(_)
                )
        })
    })
}

fn strong_hash(signature: &Signature, key: &str, policy: &Policy) -> Result<(), Reason> {
    let weak = |hash: &str| Err(Reason::WeakHash { key: key.to_owned(), hash: hash.to_owned() });
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha224
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => Ok(()),
        Some(HashAlgorithm::Sha1) if policy.allow_weak => Ok(()),
        Some(hash) => weak(&hash.to_string().to_uppercase()),
        None => weak("of an unknown kind"),
    }
}

fn strong_key(parameters: &PublicParams, key: &str, policy: &Policy) -> Result<(), Reason> {
    let weak = |what: String| Err(Reason::WeakKey { key: key.to_owned(), what });
    match parameters {
        PublicParams::RSA(rsa) => match rsa_bits(rsa) {
            bits if bits >= 2048 || (policy.allow_weak && bits >= 1024) => Ok(()),
            bits => weak(format!("RSA of {bits} bits, 2048 are needed")),
        },
        PublicParams::ECDSA(_) | PublicParams::EdDSALegacy(_) | PublicParams::Ed25519(_) | PublicParams::Ed448(_) => {
            Ok(())
        }
        PublicParams::DSA(_) => weak("DSA".to_owned()),
        _ => weak("its algorithm signs nothing".to_owned()),
    }
}

/// Checks the primary key: bound to itself by a good self-signature, in force, not revoked.
fn check_primary(certificate: &SignedPublicKey, policy: &Policy, signs: bool) -> Result<(), Reason> {
    let primary = &certificate.primary_key;
    let key = fingerprint(primary);
    strong_key(primary.public_params(), &key, policy)?;
    for revocation in &certificate.details.revocation_signatures {
        // A revocation counts however it is made: it only takes trust away.
        if revocation.typ() == Some(SignatureType::KeyRevocation) && revocation.verify_key(primary).is_ok() {
            return Err(Reason::RevokedKey { key, why: revocation_reason(revocation) });
        }
    }
    let direct = certificate.details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
    let users = certificate.details.users.iter().flat_map(|user| {
        let of_user = move |signature: &&Signature| {
            issued_by(signature, primary) && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        };
        // A user name that its owner took back says nothing about the key any more.
        let revoked = user.signatures.iter().filter(of_user).any(|s| s.typ() == Some(SignatureType::CertRevocation));
        user.signatures.iter().filter(move |signature| {
            !revoked && signature.typ() != Some(SignatureType::CertRevocation) && of_user(signature)
        })
    });
    // What either kind says of the key's end or use holds: a newer one of the other kind that is silent about
    // it does not take it back.
    let found = [newest(direct, &key, policy), newest(users, &key, policy)];
    if let [Err(_), Err(reason)] = found {
        return Err(reason);
    }
    let found: Vec<&Signature> = found.into_iter().flatten().collect();
    for own in &found {
        in_force(own, u64::from(primary.created_at().as_secs()), &key, policy)?;
    }
    let may_sign = found.iter().all(|own| own.key_flags().sign() || !has_key_flags(own));
    if signs && !may_sign {
        return Err(Reason::NotForSigning { key, why: "it is for other uses only" });
    }
    Ok(())
}

/// Checks a subkey: bound to its primary key in both directions, in force, not revoked.
fn check_subkey(certificate: &SignedPublicKey, subkey: &SignedPublicSubKey, policy: &Policy) -> Result<(), Reason> {
    let primary = &certificate.primary_key;
    let key = fingerprint(&subkey.key);
    let good =
        subkey.signatures.iter().filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok());
    if let Some(revocation) = good.clone().find(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err(Reason::RevokedKey { key, why: revocation_reason(revocation) });
    }
    let binding = newest(good, &key, policy)?;
    in_force(binding, u64::from(subkey.key.created_at().as_secs()), &key, policy)?;
    if !binding.key_flags().sign() {
        return Err(Reason::NotForSigning { key, why: "it is for other uses only" });
    }
    // Otherwise anybody could claim somebody else's signing key as a subkey (RFC 9580, 5.2.1.10).
    let back = binding.embedded_signature().filter(|back| {
        back.typ() == Some(SignatureType::KeyBinding) && back.verify_primary_key_binding(&subkey.key, primary).is_ok()
    });
    let back = back.ok_or(Reason::NotForSigning { key: key.clone(), why: "it does not confirm its primary key" })?;
    strong_hash(back, &key, policy)
}

/// The newest of a key's own good signatures about itself that rests on a strong hash.
fn newest<'a>(own: impl Iterator<Item = &'a Signature>, key: &str, policy: &Policy) -> Result<&'a Signature, Reason> {
    let mut weak = None;
    let mut best: Option<&Signature> = None;
    for signature in own {
        let made = signature.created().map(|made| u64::from(made.as_secs()));
        if made.is_none_or(|made| made > policy.now.saturating_add(CLOCKS_DIFFER)) {
            continue;
        }
        match strong_hash(signature, key, policy) {
            Err(reason) => weak = Some(reason),
            Ok(()) if best.is_none_or(|best| best.created() <= signature.created()) => best = Some(signature),
            Ok(()) => {}
        }
    }
    let unbound = || Reason::NotForSigning { key: key.to_owned(), why: "no good signature of its own binds it" };
    best.ok_or_else(|| weak.unwrap_or_else(unbound))
}

/// Whether a key, by what its own signature says, has not expired.
fn in_force(own: &Signature, made: u64, key: &str, policy: &Policy) -> Result<(), Reason> {
    let life = own.key_expiration_time().map_or(0, |life| u64::from(life.as_secs()));
    let bound = own.signature_expiration_time().map_or(0, |life| u64::from(life.as_secs()));
    let own_made = own.created().map_or(made, |own| u64::from(own.as_secs()));
    for end in [(life > 0).then_some(made + life), (bound > 0).then_some(own_made + bound)].into_iter().flatten() {
        if end <= policy.now {
            return Err(Reason::ExpiredKey { key: key.to_owned(), at: end });
        }
    }
    Ok(())
}

fn has_key_flags(signature: &Signature) -> bool {
    signature
        .config()
        .is_some_and(|config| config.hashed_subpackets().any(|part| matches!(part.data, SubpacketData::KeyFlags(_))))
}

fn revocation_reason(revocation: &Signature) -> String {
    let reason = revocation.revocation_reason_string().map(|reason| String::from_utf8_lossy(reason).into_owned());
    reason.unwrap_or_default().chars().filter(|character| !character.is_control()).take(200).collect()
}

mod rsa_bits {
    //! The size of an RSA key, whose own crate is not a dependency of ours.

    use pgp::ser::Serialize;
    use pgp::types::RsaPublicParams;

    /// The bits of the modulus: the first two bytes of its multiprecision integer (RFC 9580, 3.2).
    pub fn rsa_bits(parameters: &RsaPublicParams) -> u16 {
        let bytes = parameters.to_bytes().unwrap_or_default();
        bytes.first_chunk().map_or(0, |size| u16::from_be_bytes(*size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { now: 1_795_219_200, allow_weak: false };

    #[test]
    fn the_shipped_keys_are_in_order() {
        let keyring = Keyring::debian().unwrap();
        assert_eq!(keyring.certificates.len(), 9, "three a release, bullseye to trixie");
        for certificate in &keyring.certificates {
            assert_eq!(check_primary(certificate, &POLICY, true), Ok(()));
            for subkey in &certificate.public_subkeys {
                assert_eq!(check_subkey(certificate, subkey, &POLICY), Ok(()));
            }
        }
        let later = Policy { now: 1_900_000_000, ..POLICY };
        let first = &keyring.certificates[0];
        let key = fingerprint(&first.primary_key);
        assert_eq!(check_primary(first, &later, true), Err(Reason::ExpiredKey { key, at: 1_863_170_316 }));
    }

    #[test]
    fn what_is_not_a_keyring_is_refused() {
        for wrong in
            [&b""[..], b"nonsense", b"\x99\x01", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxx\n", b"\xff\xff\xff"]
        {
            assert!(Keyring::from_bytes(wrong).is_err());
        }
    }

    #[test]
    fn the_cleartext_framework_is_read_strictly() {
        let file = |before: &str, text: &str, after: &str| {
            format!(
                "{before}-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{text}-----BEGIN PGP SIGNATURE-----\n\nxx\n\
                 -----END PGP SIGNATURE-----\n{after}"
            )
        };
        let (text, armor) = split_cleartext(file("", "- -a  \nb\t\r\n\n", "\n").as_bytes()).unwrap();
        assert_eq!(text, "-a\nb\n\n");
        assert!(armor.starts_with("-----BEGIN PGP SIGNATURE-----\n\nxx\n"));
        for (file, message) in [
            (file("x\n", "a\n", ""), "it is not signed"),
            (file("", "a\n", "Suite: evil\n"), "text after its signature"),
            (file("", "-a\n", ""), "unescaped dash line"),
            (file("", "a\rb\n", ""), "carriage return"),
            (file("", "a\0b\n", ""), "zero byte"),
            ("-----BEGIN PGP SIGNED MESSAGE-----\nSuite: evil\n\na\n".to_owned(), "not `Hash`"),
            ("-----BEGIN PGP SIGNED MESSAGE-----\n\na\n".to_owned(), "cut off"),
            (file("", "a\n", "").replace("-----END", "-----"), "cut off"),
        ] {
            let error = split_cleartext(file.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
