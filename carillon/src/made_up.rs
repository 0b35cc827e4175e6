//! The secret of a playground: made up once, kept in `./data`, and never to be believed elsewhere.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use shared::config::Secret;

/// Where everything of a process is that nobody configured.
const FOLDER: &str = "data";
const FILE: &str = "made-up-secret";
/// By this a made-up secret is recognised wherever it turns up.
const MARK: &str = "made-up-";

/// Whether `secret` is one that a playground made up.
pub fn is_made_up(secret: &Secret) -> bool {
    secret.reveal().starts_with(MARK)
}

/// The secret of the playground in this folder, made up if there is none. Only its owner may read the file.
pub fn secret() -> anyhow::Result<Secret> {
    secret_in(Path::new(FOLDER)).with_context(|| format!("{FOLDER}/{FILE} cannot be read or written"))
}

/// Makes up a secret: 256 random bits behind the mark.
pub fn make_up() -> Secret {
    let bits: [u128; 2] = [rand::random(), rand::random()];
    Secret::new(format!("{MARK}{:032x}{:032x}", bits[0], bits[1]))
}

fn secret_in(folder: &Path) -> std::io::Result<Secret> {
    fs::create_dir_all(folder)?;
    let path = folder.join(FILE);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            let secret = make_up();
            file.write_all(secret.reveal().as_bytes())?;
            Ok(secret)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let secret = Secret::new(fs::read_to_string(path)?.trim());
            // Half a file, or anybody's text: a playground must not sign with what is not its own.
            if is_made_up(&secret) { Ok(secret) } else { Err(ErrorKind::InvalidData.into()) }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_secret_is_made_up_once_and_only_its_owner_may_read_it() {
        let folder = std::env::temp_dir().join(format!("carillon-{}", rand::random::<u64>()));
        let secret = secret_in(&folder).expect("a folder to write in");
        assert!(is_made_up(&secret));
        assert_eq!(secret_in(&folder).expect("the same"), secret);
        let mode = fs::metadata(folder.join(FILE)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(folder.join(FILE), "").expect("written");
        assert!(secret_in(&folder).is_err(), "a damaged file is not believed");
        fs::remove_dir_all(folder).expect("ours");
    }
}
