#!/usr/bin/env bash
# A Debian package of binaries that are built already. Needs dpkg-deb and strip.
set -euo pipefail

if [ $# -ne 2 ]; then
    cat >&2 <<'USAGE'
usage: deploy/debian/build.sh BINARIES FOLDER
    BINARIES    the folder with skein and skeinctl, such as target/release
    FOLDER      where skein_VERSION_ARCH.deb is written
USAGE
    exit 2
fi
binaries=$1 folder=$2
here=$(dirname "$0")
deploy=$here/..
version=$("$binaries/skein" --version | cut -d' ' -f2)
architecture=$(dpkg --print-architecture)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/skein
doc=$root/usr/share/doc/skein
chmod 0755 "$work"
for program in skein skeinctl; do
    install -D -m 0755 "$binaries/$program" "$root/usr/bin/$program"
    strip "$root/usr/bin/$program"
done
install -D -m 0644 "$deploy/systemd/skein.service" "$root/lib/systemd/system/skein.service"
install -D -m 0640 "$here/skein.toml" "$root/etc/skein/skein.toml"
install -D -m 0644 "$deploy/../LICENSE" "$doc/copyright"
for example in "$deploy"/*.toml; do
    install -D -m 0644 "$example" "$doc/examples/$(basename "$example")"
done
install -d "$root/DEBIAN"
for script in postinst prerm postrm; do
    install -m 0755 "$here/$script" "$root/DEBIAN/$script"
done
echo /etc/skein/skein.toml >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/control" <<CONTROL
Package: skein
Version: $version
Architecture: $architecture
Maintainer: The Skein authors <skein@localhost>
Section: mail
Priority: optional
Homepage: https://github.com/skein-mail/skein
Installed-Size: $(du -sk "$root" | cut -f1)
Depends: libc6 (>= 2.36), libgcc-s1, libstdc++6, adduser, ca-certificates
Description: clustered mail delivery
 Takes mail by SMTP, keeps it on a majority of disks before it answers 250, and
 delivers it at the pace that each receiving side accepts. One node alone, or a
 cluster; managed by skeinctl.
CONTROL
mkdir -p "$folder"
dpkg-deb --root-owner-group -Zgzip --build "$root" "$folder/skein_${version}_$architecture.deb"
