//! Tests of the tar reader, against bytes made here and against GNU tar.

use std::io::Read;
use std::process::Command;

use super::super::testing::{self, Entry, Scratch, file};
use std::fs::File;

use super::*;

fn all(bytes: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, TarError> {
    let mut reader = Reader::new(Stream(bytes));
    let mut members = Vec::new();
    while let Some(member) = reader.next_member()? {
        let mut data = Vec::new();
        reader.read_to_end(&mut data)?;
        members.push((member, data));
    }
    Ok(members)
}

#[test]
fn gnu_tar_formats_are_read_alike() {
    let scratch = Scratch::new("tar-formats");
    let long = format!("{}/{}", "d".repeat(90), "n".repeat(120));
    std::fs::create_dir(scratch.0.join("d".repeat(90))).unwrap();
    std::fs::write(scratch.0.join(&long), b"long").unwrap();
    std::fs::write(scratch.0.join("short"), vec![b's'; 1000]).unwrap();
    std::os::unix::fs::symlink("t".repeat(200), scratch.0.join("link")).unwrap();
    for format in ["gnu", "posix"] {
        let out = Command::new("tar")
            .args(["-C"])
            .arg(&scratch.0)
            .args(["--format", format, "--mtime=@1234567890", "--owner=7", "--group=3000000", "--sort=name"])
            .args(["-cf", "-", "."])
            .output()
            .unwrap();
        let members = all(&out.stdout).unwrap();
        let find = |name: &str| {
            let found = members.iter().find(|(m, _)| m.path == format!("./{name}").as_bytes());
            found.unwrap_or_else(|| panic!("{format}: {name}"))
        };
        let (member, data) = find(&long);
        assert_eq!((member.kind, &data[..]), (Kind::File, &b"long"[..]), "{format}");
        assert_eq!((member.uid, member.gid, member.mtime), (7, 3_000_000, (1_234_567_890, 0)), "{format}");
        assert_eq!(find("short").1.len(), 1000);
        let (link, _) = find("link");
        assert_eq!((link.kind, link.link.clone()), (Kind::Symlink, "t".repeat(200).into_bytes()));
    }
}

#[test]
fn sparse_files_of_every_form_keep_their_holes() {
    let scratch = Scratch::new("tar-sparse");
    let path = scratch.0.join("sparse");
    let file = File::create(&path).unwrap();
    use std::os::unix::fs::FileExt;
    // More pieces than the header itself holds, so that extension blocks are needed.
    for n in 0..40_u64 {
        file.write_at(&[b'a' + n as u8 % 26; 4096], n * 65536).unwrap();
    }
    file.set_len(50 * 65536).unwrap();
    for format in ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"] {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&scratch.0).arg("-S");
        if format != "--format=gnu" {
            tar.arg("--format=posix");
        }
        let out = tar.args([format, "-cf", "-", "sparse", "sparse"]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let members = all(&out.stdout).unwrap();
        assert_eq!(members.len(), 2, "{format}");
        let (member, data) = &members[0];
        assert_eq!(
            (&member.path[..], member.size, data.len()),
            (&b"sparse"[..], 50 * 65536, 40 * 4096),
            "{format}"
        );
        let segments: Vec<_> = member.segments.clone().unwrap().into_iter().filter(|s| s.1 > 0).collect();
        assert_eq!(segments, (0..40).map(|n| (n * 65536, 4096)).collect::<Vec<_>>(), "{format}");
        assert_eq!(data[4096], b'b');
    }
}

#[test]
fn damage_is_named() {
    let whole = testing::tar(&[file("a", b"data"), file("b", b"")]);
    assert_eq!(all(&whole).unwrap().len(), 2);
    assert!(matches!(all(&whole[..700]), Err(TarError::Truncated)));
    assert!(matches!(all(&whole[..515]), Err(TarError::Truncated)));
    assert_eq!(all(&whole[..1536]).unwrap().len(), 2, "the blocks of zeros at the end may be missing");
    let mut damaged = whole.clone();
    damaged[3] ^= 1;
    assert!(matches!(all(&damaged), Err(TarError::Checksum)));
    assert!(matches!(all(&[b'x'; 2048]), Err(TarError::Checksum)));
    assert!(matches!(
        all(&testing::tar(&[Entry { kind: b'Q', ..file("q", b"") }])),
        Err(TarError::UnknownType(b'Q'))
    ));
    assert!(all(b"").unwrap().is_empty());
}

#[test]
fn headers_cannot_ask_for_much() {
    for kind in [b'L', b'K', b'x', b'g'] {
        let bomb = testing::header(&Entry { kind, ..file("bomb", b"") }, 1 << 33);
        assert!(matches!(all(&bomb), Err(TarError::Exceeded(_))), "{}", kind as char);
    }
    let map = Entry {
        pax: vec![("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")],
        ..file("s", b"999999999\n")
    };
    assert!(matches!(all(&testing::tar(&[map])), Err(TarError::Truncated | TarError::Exceeded(_))));
}

#[test]
fn sparse_maps_must_agree_with_the_data() {
    let sparse = |map: &'static [u8], size: &'static [u8]| Entry {
        pax: vec![("GNU.sparse.map", map), ("GNU.sparse.size", size)],
        ..file("s", b"12345678")
    };
    assert_eq!(all(&testing::tar(&[sparse(b"0,4,100,4", b"104")])).unwrap()[0].0.size, 104);
    for (map, size) in [
        (&b"0,4,100,5"[..], &b"200"[..]),
        (b"0,4,2,4", b"200"),
        (b"0,4,100,4", b"103"),
        (b"0,4,18446744073709551615,4", b"200"),
        (b"0,4,100,4", b"18446744073709551615"),
    ] {
        let result = all(&testing::tar(&[sparse(map, size)]));
        assert!(matches!(result, Err(TarError::Sparse)), "{}", map.escape_ascii());
    }
}

#[test]
fn a_pax_header_overrides_and_is_gone_after_its_member() {
    let entries = [
        Entry {
            pax: vec![("path", b"long/name"), ("uid", b"5000000"), ("mtime", b"5.5")],
            ..file("x", b"1")
        },
        file("y", b"2"),
    ];
    let members = all(&testing::tar(&entries)).unwrap();
    assert_eq!(
        (&members[0].0.path[..], members[0].0.uid, members[0].0.mtime),
        (&b"long/name"[..], 5_000_000, (5, 500_000_000))
    );
    assert_eq!(
        (&members[1].0.path[..], members[1].0.uid, members[1].0.mtime),
        (&b"y"[..], 0, (1_000_000_000, 0))
    );
}

/// Bytes with one or two changed at random (a fixed seed) must give members or an error, never a panic or much memory.
#[test]
fn mutated_archives_never_panic() {
    let seed_archive = testing::tar(&[
        Entry {
            pax: vec![("GNU.sparse.map", b"0,4,100,4"), ("GNU.sparse.size", b"104")],
            ..file("s", b"12345678")
        },
        Entry { pax: vec![("SCHILY.xattr.user.a", b"b\n")], ..file("x", b"1") },
        testing::symlink("l", "t"),
        testing::dir("d"),
    ]);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut bytes = seed_archive.clone();
        let header = random(bytes.len() / 512) * 512;
        bytes[header + random(512)] = random(256) as u8;
        // Half of them with a right checksum, so that the fields behind it are reached.
        if random(2) == 0 {
            let block: &mut [u8; 512] = (&mut bytes[header..header + 512]).try_into().unwrap();
            if block[257..262] == *b"ustar" {
                testing::seal(block);
            }
        }
        refused += usize::from(all(&bytes).is_err());
    }
    assert!((1000..20_000).contains(&refused), "{refused}");
}
