#include "fs/maintenance.h"

void maintenance_init(struct maintenance *maintenance)
{
    *maintenance = (struct maintenance){ .lock = MUTEX_INIT, .over = PTHREAD_COND_INITIALIZER };
}

void maintenance_begin(struct maintenance *maintenance)
{
    mutex_lock(&maintenance->lock);
    while (maintenance->is_taken)
        cond_wait(&maintenance->over, &maintenance->lock);
    maintenance->is_taken = true;
    mutex_unlock(&maintenance->lock);
}

bool maintenance_begin_recount(struct maintenance *maintenance)
{
    mutex_lock(&maintenance->lock);
    while (maintenance->is_taken && !maintenance->is_check)
        cond_wait(&maintenance->over, &maintenance->lock);
    bool is_free = !maintenance->is_check;
    if (is_free) {
        maintenance->is_taken = true;
        maintenance->is_recount = true;
    }
    mutex_unlock(&maintenance->lock);
    return is_free;
}

void maintenance_end(struct maintenance *maintenance)
{
    mutex_lock(&maintenance->lock);
    maintenance->is_taken = false;
    maintenance->is_recount = false;
    (void)pthread_cond_broadcast(&maintenance->over);
    mutex_unlock(&maintenance->lock);
}

void maintenance_begin_check(struct maintenance *maintenance)
{
    mutex_lock(&maintenance->lock);
    while (maintenance->is_check || maintenance->is_recount)
        cond_wait(&maintenance->over, &maintenance->lock);
    maintenance->is_check = true;
    mutex_unlock(&maintenance->lock);
}

void maintenance_end_check(struct maintenance *maintenance)
{
    mutex_lock(&maintenance->lock);
    maintenance->is_check = false;
    (void)pthread_cond_broadcast(&maintenance->over);
    mutex_unlock(&maintenance->lock);
}
