#!/bin/bash
# Runs what is asked for in a guest: serve.sh SHARE. Started by init.sh, by itself or as a service of systemd.
#
# Requests come as lines on /dev/tty1: a number N stands for the script N.sh in the share folder; it is run in the
# background, and the line "N STATUS" is the answer. At last comes "off". "alive 0" is said as long as the guest runs.
share=$1
exec 3<>/dev/tty1
stty -F /dev/tty1 raw -echo
stty -F /dev/tty2 raw -echo
echo "ready 0" >&3
while sleep 5; do echo "alive 0"; done >&3 &
while read -r request <&3; do
    [ "$request" = off ] && break
    (
        status=0
        setsid --wait bash "$share/$request.sh" 3>&- || status=$?
        sync -d "$share/$request.out" "$share/$request.err" 2>/dev/null
        echo "$request $status" >&3
    ) &
done
sync
echo o >/proc/sysrq-trigger
sleep 60
