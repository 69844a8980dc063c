//! `auth`: who made an object. Spec chapter 6.

use super::keys::Role;
use super::signature::{SIGNATURE_BYTES, verify};
use super::{CryptoError, Keys};
use crate::id::ClientId;
use crate::model::Signer;

const BY_FULL: u8 = 1;
const BY_CLIENT: u8 = 2;
const FOR_ALL: u8 = 3;
const MAC_BYTES: usize = 32;
const CLIENT_BYTES: usize = 16;

/// `auth` of an object, cut off its end.
enum Auth<'o> {
    Full { mac: &'o [u8; MAC_BYTES] },
    Client { id: ClientId, signature: &'o [u8; SIGNATURE_BYTES] },
    ForAll { signature: &'o [u8; SIGNATURE_BYTES], mac: &'o [u8; MAC_BYTES] },
}

fn split(object: &[u8]) -> Result<(&[u8], Auth<'_>), CryptoError> {
    let (kind, rest) = object.split_last().ok_or(CryptoError::TooShort)?;
    let cut = |rest: &'_ [u8]| rest.len().checked_sub(MAC_BYTES).ok_or(CryptoError::TooShort);
    match *kind {
        BY_FULL => {
            let (data, mac) = rest.split_last_chunk().ok_or(CryptoError::TooShort)?;
            Ok((data, Auth::Full { mac }))
        }
        BY_CLIENT => {
            let (data, signature) = rest.split_last_chunk().ok_or(CryptoError::TooShort)?;
            let (data, id) = data.split_last_chunk::<CLIENT_BYTES>().ok_or(CryptoError::TooShort)?;
            Ok((data, Auth::Client { id: ClientId::new(*id), signature }))
        }
        FOR_ALL => {
            let (rest, mac) = rest.split_at(cut(rest)?);
            let (data, signature) = rest.split_last_chunk().ok_or(CryptoError::TooShort)?;
            Ok((data, Auth::ForAll { signature, mac: mac.try_into().expect("split at its length") }))
        }
        // A later version would show in the header; what a torn write left ends with anything.
        _ => Err(CryptoError::NotAuthentic),
    }
}

/// What is before `auth` in an object, whoever made it.
///
/// # Errors
/// If the object is too short, or the kind of `auth` is not known.
pub fn without_auth(object: &[u8]) -> Result<&[u8], CryptoError> {
    split(object).map(|(data, _)| data)
}

impl Keys {
    /// Appends `auth` to an object: for full clients to check.
    pub fn append_auth(&self, object: &mut Vec<u8>) {
        let Ok(root) = self.newest() else { return self.append_signature(object) };
        let mac = root.control.keyed(&[object, &[BY_FULL]]);
        object.extend_from_slice(mac.as_bytes());
        object.push(BY_FULL);
    }

    /// Appends `auth` to an object that write-only clients check as well.
    pub fn append_auth_for_all(&self, object: &mut Vec<u8>) {
        let Ok(root) = self.newest() else { return self.append_signature(object) };
        object.push(FOR_ALL);
        let signature = root.signing.sign(object);
        object.pop();
        object.extend_from_slice(&signature);
        let mac = root.control.keyed(&[object, &[FOR_ALL]]);
        object.extend_from_slice(mac.as_bytes());
        object.push(FOR_ALL);
    }

    /// What a write-only client appends.
    fn append_signature(&self, object: &mut Vec<u8>) {
        let Role::WriteOnly(credential) = &self.role else { return };
        object.extend_from_slice(credential.client.as_bytes());
        object.push(BY_CLIENT);
        let signature = credential.signing.sign(object);
        object.pop();
        object.extend_from_slice(&signature);
        object.push(BY_CLIENT);
    }

    /// Checks `auth` at the end of `object`: what is before it, and who made it.
    ///
    /// # Errors
    /// If the object is too short, its auth kind is unknown, the proof is wrong, or these keys can't check it: then
    /// [`CryptoError::UnknownClient`] or [`CryptoError::OnlyAdds`].
    pub fn check_auth<'o>(&self, object: &'o [u8]) -> Result<(&'o [u8], Signer), CryptoError> {
        let (data, auth) = split(object)?;
        match (auth, &self.role) {
            (Auth::Full { mac }, Role::Full(_)) => self.check_mac(&[data, &[BY_FULL]], mac)?,
            (Auth::Full { .. }, Role::WriteOnly(_)) => return Err(CryptoError::OnlyAdds),
            (Auth::ForAll { signature, mac }, Role::Full(_)) => self.check_mac(&[data, signature, &[FOR_ALL]], mac)?,
            (Auth::ForAll { signature, .. }, Role::WriteOnly(credential)) => {
                let message = [data, &[FOR_ALL]].concat();
                let mut keys = credential.full_public.iter().rev();
                if !keys.any(|key| verify(key, &message, signature).is_ok()) {
                    return Err(CryptoError::NotAuthentic);
                }
            }
            (Auth::Client { id, signature }, role) => {
                let public = match role {
                    Role::WriteOnly(credential) if credential.client == id => credential.signing.public(),
                    Role::WriteOnly(_) => return Err(CryptoError::UnknownClient(id)),
                    Role::Full(_) => self.known_client(&id).ok_or(CryptoError::UnknownClient(id))?.public_key,
                };
                verify(&public, &[data, id.as_bytes(), &[BY_CLIENT]].concat(), signature)?;
                return Ok((data, Signer::Client(id)));
            }
        }
        Ok((data, Signer::Full))
    }

    /// As [`Self::check_auth`], of an object that all are to be able to check.
    ///
    /// # Errors
    /// As there, and if it has a MAC alone.
    pub fn check_auth_for_all<'o>(&self, object: &'o [u8]) -> Result<(&'o [u8], Signer), CryptoError> {
        if object.last() == Some(&BY_FULL) {
            return Err(CryptoError::NotAuthentic);
        }
        self.check_auth(object)
    }

    /// As [`Self::check_auth`], of an object that only full clients make.
    ///
    /// # Errors
    /// As there, and if a write-only client signed it.
    pub fn check_full_auth<'o>(&self, object: &'o [u8]) -> Result<&'o [u8], CryptoError> {
        of_full(self.check_auth(object)?)
    }

    /// As [`Self::check_full_auth`], of an object that all are to be able to check.
    ///
    /// # Errors
    /// As there, and if it has a MAC alone.
    pub fn check_full_auth_for_all<'o>(&self, object: &'o [u8]) -> Result<&'o [u8], CryptoError> {
        of_full(self.check_auth_for_all(object)?)
    }

    /// A MAC of any epoch; the newest is what most are of.
    fn check_mac(&self, parts: &[&[u8]], mac: &[u8; MAC_BYTES]) -> Result<(), CryptoError> {
        let is_right = self.roots()?.iter().rev().any(|root| root.control.keyed(parts) == *mac);
        if is_right { Ok(()) } else { Err(CryptoError::NotAuthentic) }
    }
}

fn of_full((data, signer): (&[u8], Signer)) -> Result<&[u8], CryptoError> {
    match signer {
        Signer::Full => Ok(data),
        Signer::Client(_) => Err(CryptoError::NotAuthentic),
    }
}
