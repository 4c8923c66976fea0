#ifndef BASE_OPTFILE_H
#define BASE_OPTFILE_H

/* Configuration files of the daemons: lines "key = value", which are the program's long options
 * without the dashes; "key" alone is a switch; '#' begins a comment line.
 *
 * A value goes to the end of its line; spaces around it are dropped.  At program start, one thread.
 */

#include "base/err.h"

/* Where argv has "--config FILE" put the file's options in front of all others, so that what stands
 * on the command line wins.  The new argv is never freed.  Without --config nothing changes.
 * ERR_NOT_FOUND, ERR_INVALID with file, line and what is wrong. */
int optfile_expand(int *argc, char ***argv, struct err *err) ERR_USED;

#endif
