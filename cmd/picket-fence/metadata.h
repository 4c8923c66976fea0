#ifndef CMD_PICKET_FENCE_METADATA_H
#define CMD_PICKET_FENCE_METADATA_H

/* Print the parameters of a fence agent to stdout, for people.  Returns the exit status: 0, or 1
 * with the reason on stderr.
 *
 * @dir      where the programs are
 * @program  its name, fence_... */
int metadata_print(const char *dir, const char *program);

#endif
