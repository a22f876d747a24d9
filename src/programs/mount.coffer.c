/* mount.coffer - what mount(8) calls for mount -t coffer. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    return mount_helper_main(argc, argv);
}
