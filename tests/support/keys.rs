//! OpenPGP keys made on the spot, good ones and all kinds of bad ones, and what they sign.

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, Deserializable, DetachedSignature, KeyType, SecretKeyParamsBuilder,
    SignedPublicKey, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, RevocationCode, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{Duration, KeyDetails, Password, SigningKey, Tag, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// The time in all tests, in seconds since 1970: 21 September 2026.
pub const NOW: u64 = 1_790_000_000;
const YEAR: u32 = 365 * 24 * 3600;

/// How a key is out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// It expired a year ago.
    Expired,
    /// Its owner revoked it.
    Revoked,
    /// RSA of 1024 bits.
    Short,
    /// Nothing, but it is RSA of 2048 bits: the other keys cannot sign with SHA-1.
    Rsa,
    /// Its own signature rests on SHA-1.
    WeakBinding,
    /// It is not for signing.
    NotForSigning,
    /// Signs with a subkey.
    Subkey,
    /// Signs with a subkey that does not confirm its primary key.
    UnconfirmedSubkey,
    /// Signs with a subkey that its owner revoked.
    RevokedSubkey,
}

/// How a signature is made.
#[derive(Clone, Copy, Debug)]
pub struct Making {
    pub hash: HashAlgorithm,
    pub made: u64,
    /// It holds for so many seconds.
    pub life: Option<u32>,
}

impl Default for Making {
    fn default() -> Self {
        Self { hash: HashAlgorithm::Sha256, made: NOW - 3600, life: None }
    }
}

pub struct Signer {
    secret: SignedSecretKey,
    public: SignedPublicKey,
    by_subkey: bool,
}

fn regular(data: SubpacketData) -> Subpacket {
    Subpacket::regular(data).unwrap()
}

fn base(key: &impl KeyDetails, made: u64) -> Vec<Subpacket> {
    vec![
        regular(SubpacketData::SignatureCreationTime(Timestamp::from_secs(u32::try_from(made).unwrap()))),
        regular(SubpacketData::IssuerFingerprint(key.fingerprint())),
    ]
}

fn config(kind: SignatureType, key: &impl SigningKey, hash: HashAlgorithm, made: u64) -> SignatureConfig {
    let mut config = SignatureConfig::v4(kind, key.algorithm(), hash);
    config.hashed_subpackets = base(key, made);
    config
}

impl Signer {
    /// The same seed gives the same key.
    pub fn new(seed: u64, flaw: Flaw) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let created = Timestamp::from_secs(u32::try_from(NOW).unwrap() - 3 * YEAR);
        let by_subkey = matches!(flaw, Flaw::Subkey | Flaw::UnconfirmedSubkey | Flaw::RevokedSubkey);
        let secret = match flaw {
            Flaw::Short => fixed(include_str!("rsa1024.asc")),
            Flaw::Rsa | Flaw::WeakBinding => fixed(include_str!("rsa2048.asc")),
            _ => {
                let mut parameters = SecretKeyParamsBuilder::default();
                parameters.key_type(KeyType::Ed25519Legacy).can_sign(true).can_certify(true).created_at(created);
                parameters.primary_user_id("Test archive <archive@example.org>".into());
                if by_subkey {
                    let mut subkey = SubkeyParamsBuilder::default();
                    subkey.key_type(KeyType::Ed25519Legacy).can_sign(true).created_at(created);
                    parameters.subkeys(vec![subkey.build().unwrap()]);
                }
                parameters.build().unwrap().generate(&mut rng).unwrap()
            }
        };
        let mut public = secret.to_public_key();
        bind(&secret, &mut public, flaw);
        if by_subkey {
            bind_subkey(&secret, &mut public, flaw);
        }
        Self { secret, public, by_subkey }
    }

    /// The public key as a file, ASCII-armoured.
    pub fn public(&self) -> Vec<u8> {
        self.public.to_armored_bytes(ArmorOptions::default()).unwrap()
    }

    /// The public key as a file, binary.
    pub fn public_binary(&self) -> Vec<u8> {
        self.public.to_bytes().unwrap()
    }

    /// The fingerprint of the key that signs.
    pub fn fingerprint(&self) -> String {
        match self.by_subkey {
            true => format!("{:X}", self.secret.secret_subkeys[0].key.fingerprint()),
            false => format!("{:X}", self.secret.primary_key.fingerprint()),
        }
    }

    fn signature(&self, kind: SignatureType, text: &[u8], making: Making) -> Signature {
        match self.by_subkey {
            true => signature(&self.secret.secret_subkeys[0].key, kind, text, making),
            false => signature(&self.secret.primary_key, kind, text, making),
        }
    }

    /// The text, cleartext-signed.
    pub fn cleartext(&self, text: &str, making: Making) -> Vec<u8> {
        cleartext(&[self], text, making)
    }

    /// A signature to be kept beside the text.
    pub fn detached(&self, text: &str, making: Making) -> Vec<u8> {
        let signature = self.signature(SignatureType::Binary, text.as_bytes(), making);
        DetachedSignature::new(signature).to_armored_bytes(ArmorOptions::default()).unwrap()
    }
}

/// The text, cleartext-signed by several keys.
pub fn cleartext(signers: &[&Signer], text: &str, making: Making) -> Vec<u8> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let sign = |normal: &str| {
        Ok(signers.iter().map(|signer| signer.signature(SignatureType::Text, normal.as_bytes(), making)).collect())
    };
    CleartextSignedMessage::new_many(text, sign).unwrap().to_armored_bytes(ArmorOptions::default()).unwrap()
}

fn signature(key: &impl SigningKey, kind: SignatureType, text: &[u8], making: Making) -> Signature {
    let mut config = config(kind, key, making.hash, making.made);
    if let Some(life) = making.life {
        config.hashed_subpackets.push(regular(SubpacketData::SignatureExpirationTime(Duration::from_secs(life))));
    }
    config.sign(key, &Password::empty(), text).unwrap()
}

/// A key made by GnuPG for these tests: the library makes no short ones, and takes its time for RSA.
fn fixed(armored: &str) -> SignedSecretKey {
    SignedSecretKey::from_armor_single(armored.as_bytes()).unwrap().0
}

/// Replaces the key's own signature by one made at a fixed time, and adds a revocation.
fn bind(secret: &SignedSecretKey, public: &mut SignedPublicKey, flaw: Flaw) {
    let key = &secret.primary_key;
    let hash = if flaw == Flaw::WeakBinding { HashAlgorithm::Sha1 } else { HashAlgorithm::Sha256 };
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(flaw != Flaw::NotForSigning);
    let mut own = config(SignatureType::CertPositive, key, hash, NOW - 2 * u64::from(YEAR));
    own.hashed_subpackets.push(regular(SubpacketData::KeyFlags(flags)));
    if flaw == Flaw::Expired {
        own.hashed_subpackets.push(regular(SubpacketData::KeyExpirationTime(Duration::from_secs(2 * YEAR))));
    }
    let user = &mut public.details.users[0];
    let password = Password::empty();
    user.signatures = vec![own.sign_certification(key, &public.primary_key, &password, Tag::UserId, &user.id).unwrap()];
    if flaw == Flaw::Revoked {
        let mut revocation = config(SignatureType::KeyRevocation, key, HashAlgorithm::Sha256, NOW - 1000);
        let reason = SubpacketData::RevocationReason(RevocationCode::KeyCompromised, "stolen".into());
        revocation.hashed_subpackets.push(regular(reason));
        public.details.revocation_signatures = vec![revocation.sign_key(key, &password, &public.primary_key).unwrap()];
    }
}

fn bind_subkey(secret: &SignedSecretKey, public: &mut SignedPublicKey, flaw: Flaw) {
    let (key, password) = (&secret.primary_key, Password::empty());
    let subkey = &secret.secret_subkeys[0].key;
    let bound = public.public_subkeys[0].key.clone();
    let mut flags = KeyFlags::default();
    flags.set_sign(true);
    let mut own = config(SignatureType::SubkeyBinding, key, HashAlgorithm::Sha256, NOW - u64::from(YEAR));
    own.hashed_subpackets.push(regular(SubpacketData::KeyFlags(flags)));
    if flaw != Flaw::UnconfirmedSubkey {
        let back = config(SignatureType::KeyBinding, subkey, HashAlgorithm::Sha256, NOW - u64::from(YEAR));
        let back = back.sign_primary_key_binding(subkey, &bound, &password, &public.primary_key).unwrap();
        own.hashed_subpackets.push(regular(SubpacketData::EmbeddedSignature(Box::new(back))));
    }
    let mut signatures = vec![own.sign_subkey_binding(key, &public.primary_key, &password, &bound).unwrap()];
    if flaw == Flaw::RevokedSubkey {
        let revocation = config(SignatureType::SubkeyRevocation, key, HashAlgorithm::Sha256, NOW - 1000);
        signatures.push(revocation.sign_subkey_binding(key, &public.primary_key, &password, &bound).unwrap());
    }
    public.public_subkeys[0].signatures = signatures;
}
