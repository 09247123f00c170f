#!/usr/bin/env bash
# Skein's image from binaries that are built already, without a registry and without an engine: a base of a few Debian packages,
# no shell, and the three programs. Needs mmdebstrap and buildah, and root (or `buildah unshare`).
set -euo pipefail

if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    cat >&2 <<'USAGE'
usage: deploy/image/build.sh BINARIES IMAGE.tar [NAME:TAG]
    BINARIES    the folder with skein, skeinctl and skein-demo, such as target/release
    IMAGE.tar   what is written, for `docker load -i`, `podman load -i` or `ctr images import`
    NAME:TAG    what it is called there; skein:latest unless given
The base is kept in ${XDG_CACHE_HOME:-~/.cache}/skein/image; remove it there to get Debian's later fixes.
USAGE
    exit 2
fi
binaries=$1 image=$2 name=${3:-skein:latest}
suite=bookworm
packages="base-files,netbase,ca-certificates,tzdata,libc6,libgcc-s1,libstdc++6"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/skein/image
base=$cache/$suite.tar
revision=$(git -C "$(dirname "$0")" rev-parse HEAD 2>/dev/null || echo unknown)

work=$(mktemp -d)
container=
cleanup() {
    if [ -n "$container" ]; then buildah rm "$container" >/dev/null; fi
    rm -rf "$work"
}
trap cleanup EXIT

if [ ! -s "$base" ]; then
    mkdir -p "$cache"
    # Without the scripts of packages: they need the shell that is left out. They would make the list of authorities below.
    mmdebstrap --quiet --variant=extract --mode=root --include="$packages" "$suite" "$work/base.tar"
    mv "$work/base.tar" "$base.$$"
    mv "$base.$$" "$base"
fi

root=$work/root
mkdir "$root"
tar -C "$root" --exclude='./dev/*' --exclude='./var/lib/apt/*' --exclude='./var/cache/*' --exclude='./usr/share/doc/*' \
    --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' -xf "$base"
mkdir -p "$root/etc/ssl/certs" "$root/var/lib/skein" "$root/tmp"
find "$root/usr/share/ca-certificates/mozilla" -name '*.crt' -print0 | sort -z | xargs -0 cat >"$root/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/:/sbin/nologin\nskein:x:65532:65532:Skein:/var/lib/skein:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nskein:x:65532:\n' >"$root/etc/group"
chmod 1777 "$root/tmp"
for program in skein skeinctl skein-demo; do
    install -D -m 0755 "$binaries/$program" "$root/usr/bin/$program"
    strip "$root/usr/bin/$program"
done
chown -R 0:0 "$root"
chown 65532:65532 "$root/var/lib/skein"
chmod 0750 "$root/var/lib/skein"

container=$(buildah from scratch)
# Owners are kept of an archive alone.
tar -C "$root" -cf "$work/root.tar" .
rm -rf "$root"
buildah add --quiet "$container" "$work/root.tar" / >/dev/null
buildah config --user 65532:65532 --workingdir /var/lib/skein --volume /var/lib/skein --cmd '["skein", "serve"]' \
    --env PATH=/usr/local/bin:/usr/bin:/bin \
    --port 2525 --port 2465 --port 2587 --port 7000 --port 7001 --port 7002 --port 7003 \
    --label org.opencontainers.image.title=Skein \
    --label 'org.opencontainers.image.description=Clustered mail delivery' \
    --label org.opencontainers.image.source=https://github.com/skein-mail/skein \
    --label org.opencontainers.image.licenses=Apache-2.0 \
    --label "org.opencontainers.image.version=$("$binaries/skein" --version | cut -d' ' -f2)" \
    --label "org.opencontainers.image.revision=$revision" "$container"
rm -f "$image"
buildah commit --quiet --disable-compression "$container" "docker-archive:$image:$name" >/dev/null
echo "$image: $name, $(du -h "$image" | cut -f1)"
